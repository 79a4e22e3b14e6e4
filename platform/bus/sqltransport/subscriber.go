package sqltransport

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/lib/pq"

	"millrace/platform/bus"
	"millrace/platform/bus/store"
	"millrace/platform/errs"
	"millrace/platform/failpoint"
)

// subscriber is a module's message.Subscriber. The router subscribes to the
// types one by one; work starts when it has subscribed to all of them, since a
// type that is not yet subscribed would be taken for one that nobody wants.
type subscriber struct {
	t      *Transport
	module string // what it is called: its positions and its inbox rows bear the name
	schema string // the module whose tables it works in; another name only for a relay
	db     *sql.DB
	log    *slog.Logger
	queue  *readyQueue
	tasks  map[string]*[store.Partitions]task // by stream

	readers map[string]*reader // likewise
	homes   map[string]string  // the topics of the types that it subscribes to

	mu       sync.Mutex
	channels map[string]chan *message.Message // by type; complete once started
	missing  []string                         // types that are not subscribed yet

	started   chan struct{} // closed when all types are subscribed
	stopping  chan struct{}
	closed    chan struct{}
	stopOnce  sync.Once
	executors sync.WaitGroup
	staff     staff
	closeOnce sync.Once

	pauses  *pauses
	solo    atomic.Int64 // runs of one message until then, in Unix milliseconds
	runSize atomic.Int64 // how many messages a run may hold
}

func newSubscriber(t *Transport, module string, db *sql.DB) *subscriber {
	s := emptySubscriber(t, module, module, db)
	for _, sub := range t.topo.SubscriptionsOf(module) {
		s.missing = append(s.missing, sub.Type)
	}
	s.homes = homes(t.topo, module)
	for _, stream := range t.hears(module) {
		s.addTasks(stream)
	}
	return s
}

func emptySubscriber(t *Transport, schema, name string, db *sql.DB) *subscriber {
	s := &subscriber{
		t: t, module: name, schema: schema, db: db, log: t.cfg.Logger.With("subscriber", name),
		queue: newReadyQueue(), tasks: map[string]*[store.Partitions]task{}, readers: map[string]*reader{},
		channels: map[string]chan *message.Message{},
		started:  make(chan struct{}), stopping: make(chan struct{}), closed: make(chan struct{}),
	}
	s.pauses = &pauses{log: s.log, paused: map[*task]reason{}}
	s.runSize.Store(int64(t.cfg.MaxRun))
	return s
}

func (s *subscriber) addTasks(stream string) {
	s.tasks[stream] = &[store.Partitions]task{}
	for p := range s.tasks[stream] {
		s.tasks[stream][p] = task{topic: stream, partition: p}
	}
}

// Subscribe is called by the router, once for each type. The channel closes
// when ctx ends or the subscriber is closed; messages in flight are finished
// first: their contexts do not come from ctx.
func (s *subscriber) Subscribe(ctx context.Context, messageType string) (<-chan *message.Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isStopping() { // its channel would never be closed, and the router would never end
		return nil, errs.New(errs.Shutdown, "module %s is closed already", s.module)
	}
	at := slices.Index(s.missing, messageType)
	if at < 0 {
		return nil, errs.New(errs.Invalid, "module %s has no subscription to %s, or has subscribed already", s.module, messageType)
	}
	s.missing = slices.Delete(s.missing, at, at+1)
	ch := make(chan *message.Message)
	s.channels[messageType] = ch
	if len(s.missing) == 0 {
		if err := s.start(ctx); err != nil {
			return nil, err
		}
	}
	go func() {
		select {
		case <-ctx.Done():
			_ = s.Close() // it has no error to give
		case <-s.closed:
		}
	}()
	return ch, nil
}

// start registers the subscriber in the database, and begins to work.
func (s *subscriber) start(ctx context.Context) error {
	if err := s.t.retryStart(ctx, "registering subscriber "+s.module, s.register); err != nil {
		return err
	}
	if err := s.t.retryStart(ctx, "comparing the types of "+s.module, s.warnOfUnknown); err != nil {
		return err
	}
	failpoint.Here("start.registered")
	s.employ()
	close(s.started)
	s.t.lease.RenewSoon() // claim at once
	return nil
}

// register notes what the subscriber subscribes to, and its offsets if it is
// new. Repeating it changes nothing.
func (s *subscriber) register(ctx context.Context) error {
	for messageType := range s.channels {
		if _, err := s.db.ExecContext(ctx, `INSERT INTO bus.registrations (subscriber, type) VALUES ($1, $2) ON CONFLICT DO NOTHING`, s.module, messageType); err != nil {
			return fmt.Errorf("register %s for %s: %w", s.module, messageType, err)
		}
	}
	for topic := range s.tasks {
		if err := s.begin(ctx, topic); err != nil {
			return fmt.Errorf("positions of %s in %s: %w", s.module, topic, err)
		}
	}
	return nil
}

// warnOfUnknown tells of types that other versions of the module have subscribed
// to, and this one does not know: it holds their messages, and what is behind.
func (s *subscriber) warnOfUnknown(ctx context.Context) error {
	var types []string
	err := s.db.QueryRowContext(ctx, `SELECT coalesce(array_agg(type ORDER BY type), '{}') FROM (
		SELECT type FROM bus.registrations WHERE subscriber = $1 AND type <> ALL($2) LIMIT 20) AS r`,
		s.module, pq.Array(slices.Collect(maps.Keys(s.channels)))).Scan(pq.Array(&types))
	if err != nil {
		return fmt.Errorf("what other versions of %s subscribed to: %w", s.module, err)
	}
	if len(types) > 0 {
		s.log.Warn("another version of the module has subscribed to types that this one does not know: their messages, and what is behind them, are held for it",
			"types", types, "help", "if no version will hear one any more: millrace deadletters forget "+s.module+" TYPE --reason …")
	}
	return nil
}

// halt takes no new run. Others may claim the partitions from now on; a run in
// flight keeps its own by the lock on its position.
func (s *subscriber) halt() {
	s.stopOnce.Do(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		close(s.stopping)
		s.queue.stop()
		s.t.lease.RenewSoon()
	})
}

// stop takes no new run and waits for those in flight.
func (s *subscriber) stop() {
	s.halt()
	s.executors.Wait()
}

// Close is called by the router, once for each of its handlers.
func (s *subscriber) Close() error {
	s.stop()
	s.closeOnce.Do(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, ch := range s.channels {
			close(ch)
		}
		close(s.closed)
	})
	return nil
}

func (s *subscriber) isStopping() bool {
	select {
	case <-s.stopping:
		return true
	default:
		return false
	}
}

func (s *subscriber) isStarted() bool {
	select {
	case <-s.started:
		return true
	default:
		return false
	}
}

// wake wakes the tasks of a topic's partitions, given as bits.
func (s *subscriber) wake(topic string, partitions uint64) {
	tasks := s.tasks[topic]
	if tasks == nil || !s.isStarted() {
		return
	}
	for p := range tasks {
		if partitions&(1<<p) != 0 {
			s.queue.wake(&tasks[p])
		}
	}
}

var _ message.Subscriber = (*subscriber)(nil)
var _ bus.Log = (*Transport)(nil)
