package engine

import (
	"context"
	"database/sql"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/lib/pq"

	"millrace/platform/bus"
	"millrace/platform/bus/store"
	"millrace/platform/bus/work"
	"millrace/platform/errs"
	"millrace/platform/failpoint"
)

// Config describes a module's subscriber.
type Config struct {
	Module string
	Node   uuid.UUID
	DB     *sql.DB // the module's connections; search path: its schema
	Log    bus.Log // takes what handlers publish and send
	Lease  work.Lease
	// Types are the types to which the module subscribes, with their topics.
	Types map[string]string
	// Readers has a reader for each stream in which they arrive.
	Readers map[string]*work.Reader
	// Bridged means that messages arrive through a bridge, too.
	Bridged bool
	// Workers is how many batches are handled at the same time, MaxWorkers how many while some
	// of them are slow. Each uses a connection.
	Workers, MaxWorkers int
	// BatchSize is how many messages a batch has at most.
	BatchSize int
	// Backoff are the waits before a failed message is tried again; after the last it is dead.
	Backoff []time.Duration
	// KeepCommands is how long handled commands stay in the queue.
	KeepCommands time.Duration
	// Startup repeats a step of the start while the environment prevents it.
	Startup func(ctx context.Context, step string, do func(context.Context) error) error
	Logger  *slog.Logger
}

// Subscriber is a module's message.Subscriber. The router subscribes to the types one by one;
// work starts when it has subscribed to all of them, since messages of a type that is not yet
// subscribed would be skipped.
type Subscriber struct {
	*work.Group
	cfg     Config
	offsets *store.Offsets

	mu       sync.Mutex
	channels map[string]chan *message.Message // by type; complete once started
	closed   chan struct{}
	once     sync.Once
}

// New returns a subscriber that does nothing before the router has subscribed.
func New(cfg Config) *Subscriber {
	cfg.Logger = cfg.Logger.With("subscriber", cfg.Module)
	s := &Subscriber{
		cfg:      cfg,
		offsets:  &store.Offsets{DB: cfg.DB, Subscriber: cfg.Module, Node: cfg.Node},
		channels: map[string]chan *message.Message{}, closed: make(chan struct{}),
	}
	p := newProcessor(cfg, s.offsets, s.channels)
	s.Group = work.NewGroup(work.Config{
		Offsets: s.offsets, Readers: cfg.Readers, Lease: cfg.Lease, Step: p.step, Logger: cfg.Logger,
		Workers: func(slow int) int { return min(cfg.Workers+slow, cfg.MaxWorkers) },
	})
	p.group = s.Group
	return s
}

// Subscribe is called by the router, once for each type. The channel closes when ctx ends or
// the subscriber is closed; messages in flight are finished first: their contexts do not
// depend on ctx.
func (s *Subscriber) Subscribe(ctx context.Context, messageType string) (<-chan *message.Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.Stopping(): // its channel would never be closed, and the router would never end
		return nil, errs.New(errs.Shutdown, "module %s is closed already", s.cfg.Module)
	default:
	}
	if s.cfg.Types[messageType] == "" || s.channels[messageType] != nil {
		return nil, errs.New(errs.Invalid, "module %s has no subscription to %s, or has subscribed already", s.cfg.Module, messageType)
	}
	ch := make(chan *message.Message)
	s.channels[messageType] = ch
	if len(s.channels) == len(s.cfg.Types) {
		if err := s.start(ctx); err != nil {
			return nil, err
		}
	}
	go func() {
		select {
		case <-ctx.Done():
			_ = s.Close() // it has no error to return
		case <-s.closed:
		}
	}()
	return ch, nil
}

// start registers the subscriber in the database, and begins to work.
func (s *Subscriber) start(ctx context.Context) error {
	if err := s.cfg.Startup(ctx, "registering subscriber "+s.cfg.Module, s.register); err != nil {
		return err
	}
	if err := s.cfg.Startup(ctx, "comparing the types of "+s.cfg.Module, s.warnAboutUnknown); err != nil {
		return err
	}
	failpoint.Here("start.registered")
	s.Group.Start()
	return nil
}

// register records what the subscriber subscribes to, and creates its offsets if it is new.
// Repeating it changes nothing.
func (s *Subscriber) register(ctx context.Context) error {
	for messageType := range s.channels {
		if err := store.Register(ctx, s.offsets, messageType); err != nil {
			return err
		}
	}
	for _, stream := range s.Streams() {
		if err := s.offsets.Create(ctx, stream); err != nil {
			return err
		}
	}
	return nil
}

// warnAboutUnknown logs the types to which other versions of the module have subscribed, and
// that this one does not know: it parks their messages, and what is behind them.
func (s *Subscriber) warnAboutUnknown(ctx context.Context) error {
	types, err := store.RegisteredByOthers(ctx, s.offsets, slices.Collect(maps.Keys(s.channels)))
	if err != nil {
		return err
	}
	if len(types) > 0 {
		s.cfg.Logger.Warn("another version of the module has subscribed to types that this one does not know: their messages, and what is behind them, are parked for it",
			"types", types, "help", "if no version will handle one any more: millrace deadletters forget "+s.cfg.Module+" TYPE --reason …")
	}
	return nil
}

// Halt takes no new partition.
func (s *Subscriber) Halt() {
	s.mu.Lock() // not between a subscription and its start
	defer s.mu.Unlock()
	s.Group.Halt()
}

// Stop takes no new partition and waits for the batches in flight.
func (s *Subscriber) Stop() {
	s.Halt()
	s.Group.Stop()
}

// Close is called by the router, once for each of its handlers.
func (s *Subscriber) Close() error {
	s.Stop()
	s.once.Do(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, ch := range s.channels {
			close(ch)
		}
		close(s.closed)
	})
	return nil
}

// Maintain finds parked messages that are due though no timer or notification reported them,
// and prunes handled commands.
func (s *Subscriber) Maintain(ctx context.Context) {
	if !s.Working() {
		return
	}
	due, err := store.DueParked(ctx, s.offsets)
	if err != nil && ctx.Err() == nil {
		s.cfg.Logger.Warn("poll failed", "kind", errs.KindOf(err).String(), "error", err.Error())
	}
	for _, p := range due {
		s.CheckParked(p.Stream, p.Partition)
	}
	if !s.Has(bus.CommandsOf(s.cfg.Module)) {
		return
	}
	if err := store.PruneCommands(ctx, s.offsets, s.cfg.KeepCommands); err != nil && ctx.Err() == nil {
		s.cfg.Logger.Warn("prune failed", "kind", errs.KindOf(err).String(), "error", err.Error())
	}
}

// Name is the subscriber's name in its offsets. With Offsets and Subscriptions, and what its
// Group has, it is a cluster.Member.
func (s *Subscriber) Name() string { return s.cfg.Module }

// Offsets is the table of its offsets.
func (s *Subscriber) Offsets() string { return pq.QuoteIdentifier(s.cfg.Module) + ".offsets" }

// Subscriptions lists the types to which it has subscribed, as "module/type".
func (s *Subscriber) Subscriptions() (all []string) {
	for messageType := range s.channels {
		all = append(all, s.cfg.Module+"/"+messageType)
	}
	return all
}

var _ message.Subscriber = (*Subscriber)(nil)
