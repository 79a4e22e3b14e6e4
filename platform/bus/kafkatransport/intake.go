package kafkatransport

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"

	"millrace/platform/bus"
	"millrace/platform/bus/relay"
	"millrace/platform/bus/store"
	"millrace/platform/errs"
	"millrace/platform/failpoint"
)

// What is gathered into one transaction at most.
const (
	gatherRows  = 500
	gatherBytes = 4 << 20
)

// receiver keeps what arrived; relay.Inbound is one.
type receiver interface {
	Receive(ctx context.Context, module string, rows []store.Row, marks ...store.Checkpoint) error
	Checkpoints(ctx context.Context, module string) ([]store.Checkpoint, error)
	Flush(ctx context.Context, module string) ([]store.Checkpoint, error)
	BeginAt(ctx context.Context, module string, marks []store.Checkpoint) error
	Superseded(ctx context.Context, rows []store.Row) ([]bool, error)
}

// intake is the way in of one module: a consumer group of the module's name,
// with one member in each process that hosts it. No handler runs here, so none
// can hold up a rebalance.
type intake struct {
	cfg    Config
	module string
	topics []string // without the prefix
	topo   *bus.Topology
	to     receiver
	admin  *topicAdmin
	log    *slog.Logger

	arrived chan arrival
	counts  *counters
	stopped chan struct{} // closed when nothing more is to be received
	once    sync.Once
	running sync.WaitGroup

	mu      sync.Mutex
	restart context.CancelFunc // ends the present subscription; another follows
	failing failure            // why nothing is received, if so
	stalled map[place]failure
	noted   map[place]int64 // how far the database was brought when the present session began, or in it
}

// place is a partition at the brokers.
type place struct {
	topic     string // without the prefix
	partition int32
}

// arrival is a record, and the session in which it arrived.
type arrival struct {
	session     sarama.ConsumerGroupSession // nil for what is read again
	record      *sarama.ConsumerMessage
	incarnation string // of the topic, when the session began
	from        int64  // where the record before it ended
	gone        int64  // records that were gone from the brokers when the session began
	renewed     bool   // the topic is another one than the database last received from
	doubtful    bool   // it may be of a time that a restored speaker has undone
}

// live tells whether the session in which it arrived goes on.
func (a arrival) live() bool { return a.session != nil && a.session.Context().Err() == nil }

// counters are totals since the start.
type counters struct {
	received, foreign, skipped, unreadable, restarts, reread, undone, gone atomic.Int64
}

func newIntake(cfg Config, module string, topics []string, topo *bus.Topology, to receiver, admin *topicAdmin, counts *counters) *intake {
	return &intake{
		cfg: cfg, module: module, topics: topics, topo: topo, to: to, admin: admin, log: cfg.Logger.With("module", module), counts: counts,
		arrived: make(chan arrival, gatherRows), stopped: make(chan struct{}), stalled: map[place]failure{}, noted: map[place]int64{}, restart: func() {},
	}
}

func (in *intake) group() string { return in.cfg.Prefix + in.module }

// start begins to receive, until stop.
func (in *intake) start() {
	in.running.Go(in.consume)
	in.running.Go(in.keep)
}

// stop takes nothing more and leaves the group, but does not wait longer than
// ctx for brokers that do not answer.
func (in *intake) stop(ctx context.Context) error {
	in.once.Do(func() { close(in.stopped) })
	return within(ctx, "module "+in.module+" could not leave its consumer group: the brokers will notice that it is gone", in.running.Wait)
}

// consume subscribes, again and again.
func (in *intake) consume() {
	for !in.isStopped() {
		ctx, cancel := context.WithCancel(context.Background())
		in.mu.Lock()
		in.restart = cancel
		in.mu.Unlock()
		watch := make(chan struct{})
		go func() {
			defer close(watch)
			select {
			case <-in.stopped:
				cancel()
			case <-ctx.Done():
			}
		}()
		err := in.subscribe(ctx)
		cancel()
		<-watch
		if err != nil && !in.isStopped() {
			in.fails(errs.As(errs.Resource, err))
			in.log.Warn("subscription ended, and is made again", "group", in.group(), "error", err.Error())
			in.sleep(time.Second)
		}
	}
}

// subscribe is one membership of the group, until ctx ends or something fails.
func (in *intake) subscribe(ctx context.Context) (err error) {
	settings, err := in.cfg.consumer()
	if err != nil {
		return err
	}
	group, err := sarama.NewConsumerGroup(in.cfg.Brokers, in.group(), settings)
	if err != nil {
		return in.cfg.unreachable(err)
	}
	told := make(chan struct{})
	go func() {
		defer close(told)
		for err := range group.Errors() {
			in.log.Warn("consumer group", "group", in.group(), "error", err.Error())
		}
	}()
	defer func() {
		if closing := group.Close(); closing != nil && err == nil {
			err = closing
		}
		<-told
	}()
	names := make([]string, len(in.topics))
	for i, topic := range in.topics {
		names[i] = in.cfg.Prefix + topic
	}
	for ctx.Err() == nil { // it returns at each rebalance
		if err := group.Consume(ctx, names, &claims{in: in}); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// keep writes what arrived, all that is there in one transaction, and lets the
// group's offset follow.
func (in *intake) keep() {
	for {
		var all []arrival
		select {
		case first := <-in.arrived:
			all = in.gather(first)
		case <-in.stopped:
			return
		}
		failpoint.Here("intake.polled")
		if !in.receive(all) {
			return
		}
		failpoint.Here("intake.kept")
		for _, a := range all {
			if a.session != nil {
				a.session.MarkMessage(a.record, a.incarnation) // of an ended session: nothing happens
			}
		}
		failpoint.Here("intake.marked") // and a second later the library commits it
	}
}

func (in *intake) gather(first arrival) []arrival {
	all, size := []arrival{first}, len(first.record.Value)
	for len(all) < gatherRows && size < gatherBytes {
		select {
		case next := <-in.arrived:
			all = append(all, next)
			size += len(next.record.Value)
		default:
			return all
		}
	}
	return all
}

// receive keeps on trying: the database may be away. False says that the intake
// was stopped before.
func (in *intake) receive(all []arrival) bool {
	rows := make([]store.Row, 0, len(all))
	doubtful, marks := false, in.marks(all)
	for _, a := range all {
		if row, ok := in.accept(a.record); ok {
			row.Since = in.since(a, marks)
			rows = append(rows, row)
			doubtful = doubtful || a.doubtful
		}
	}
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, 10*time.Second) {
		var err error
		if doubtful {
			rows, err = in.believed(rows)
			doubtful = err != nil
		}
		if err == nil {
			err = in.to.Receive(context.Background(), in.module, rows, marks...)
		}
		if errors.Is(err, relay.ErrBehind) {
			if slices.ContainsFunc(all, arrival.live) {
				in.log.Warn("the database does not have what was received before, as after a crash: it is read again", "group", in.group())
				in.again()
			}
			err = nil
		}
		if err == nil {
			in.works()
			in.note(all)
			in.counts.received.Add(int64(len(rows)))
			return true
		}
		in.fails(err)
		in.log.Warn("what arrived could not be kept, and is tried again", "records", len(all), "for", pause, "kind", errs.KindOf(err).String(), "error", err.Error())
		if !in.sleep(pause) {
			return false
		}
	}
}

// marks are how far the records bring their partitions.
func (in *intake) marks(all []arrival) []store.Checkpoint {
	at := map[place]int{}
	var marks []store.Checkpoint
	for _, a := range all {
		if a.session == nil { // beside the group: it comes again
			continue
		}
		p := place{a.record.Topic[len(in.cfg.Prefix):], a.record.Partition}
		i, known := at[p]
		switch {
		case !known:
			at[p] = len(marks)
			marks = append(marks, store.Checkpoint{Topic: p.topic, Partition: p.partition, TopicID: a.incarnation, From: a.from, To: a.record.Offset + 1})
		case marks[i].TopicID == a.incarnation && marks[i].To == a.from:
			marks[i].To = a.record.Offset + 1
		case marks[i].TopicID != a.incarnation || a.from < marks[i].From || a.from > marks[i].To: // a later session
			marks[i] = store.Checkpoint{Topic: p.topic, Partition: p.partition, TopicID: a.incarnation, From: a.from, To: a.record.Offset + 1}
		}
	}
	return marks
}

// note remembers what the database has, or will when it has read again.
func (in *intake) note(all []arrival) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, a := range all {
		if a.live() {
			in.noted[place{a.record.Topic[len(in.cfg.Prefix):], a.record.Partition}] = a.record.Offset + 1
		}
	}
}

// begins remembers what the database has when a session begins: a crash may
// forget that, too, before anything more arrives.
func (in *intake) begins(at map[place]int64) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.noted = maps.Clone(at)
}

// brought is how far the database was brought.
func (in *intake) brought() map[place]int64 {
	in.mu.Lock()
	defer in.mu.Unlock()
	return maps.Clone(in.noted)
}

// believed leaves out what a restored speaker has undone.
func (in *intake) believed(rows []store.Row) (kept []store.Row, err error) {
	undone, err := in.to.Superseded(context.Background(), rows)
	if err != nil {
		return rows, err
	}
	for i, row := range rows {
		if !undone[i] {
			kept = append(kept, row)
			continue
		}
		in.counts.undone.Add(1)
		in.log.Error("a message is dropped: the database of its speaker was restored to a time before it was said",
			"id", row.ID.String(), "type", row.Type, "source", row.Source, "partition", row.Partition, "sequence", row.Sequence)
	}
	return kept, nil
}

// accept makes a row of a record. A record that is not ours is taken if the
// module hears its type; else it is none of its business, and counted if its type
// does not even belong into the topic.
func (in *intake) accept(m *sarama.ConsumerMessage) (row store.Row, ok bool) {
	topic := m.Topic[len(in.cfg.Prefix):]
	row = read(in.topo, topic, m)
	if row.Sequence > 0 && row.Type != unreadable {
		return row, true
	}
	at := slog.Group("record", "topic", m.Topic, "partition", m.Partition, "offset", m.Offset, "id", row.ID.String())
	switch {
	case row.Type == unreadable:
		in.counts.unreadable.Add(1)
		in.log.Warn("a record without a type that we can read becomes a dead letter", at, slog.String("type", row.Metadata[store.MetaBadType]))
		return row, true
	case in.topo.TopicOf(row.Type) != topic:
		in.counts.skipped.Add(1)
		in.log.Warn("a record of a type that does not belong to its topic is skipped", at, slog.String("type", row.Type), slog.String("source", row.Source))
		return row, false
	case !in.hears(row.Type):
		return row, false
	}
	in.counts.foreign.Add(1)
	return row, true
}

func (in *intake) hears(messageType string) bool {
	for _, sub := range in.topo.SubscriptionsOf(in.module) {
		if sub.Type == messageType {
			return true
		}
	}
	return false
}

func (in *intake) isStopped() bool {
	select {
	case <-in.stopped:
		return true
	default:
		return false
	}
}

// sleep waits, unless the intake is stopped: false.
func (in *intake) sleep(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-in.stopped:
		return false
	}
}

func (in *intake) fails(why error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.failing.why == nil {
		in.failing.since = time.Now()
	}
	in.failing.why = why
}

func (in *intake) works() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.failing = failure{}
}

func (in *intake) isFailing() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.failing.why != nil
}
