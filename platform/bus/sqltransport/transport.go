package sqltransport

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/lib/pq"

	"millrace/platform/bus"
	"millrace/platform/bus/cluster"
	"millrace/platform/bus/store"
	"millrace/platform/errs"
	"millrace/platform/postgres"
	"millrace/platform/postgres/pgurl"
)

// Config says how the transport works. URL is needed; the rest has defaults.
type Config struct {
	// URL is the database, as postgres.Config wants it.
	URL string
	// RolePrefix, if it is given, makes each module's pool assume the module's
	// role (see admin.Roles), so that it has that role's rights only, whoever signs in.
	// The user must be a member of the hosted modules' roles.
	RolePrefix string
	// MaxConnsPerModule bounds each hosted module's pool: its executors use one
	// connection each, the rest serves its requests. Default 10; at least
	// Executors + 2. Beside the modules' pools the process uses SharedConns, and
	// with a Carrier CarrierConns for each of them.
	MaxConnsPerModule int
	// Executors is how many runs a module may have in flight. Default 3.
	Executors int
	// MaxRun is how many messages one transaction handles at most. Default 16;
	// with 1 each message has a transaction of its own.
	MaxRun int
	// LeaseTTL is how long this process is believed in after it was last heard
	// of, default 2 s, at most 1 min. It is renewed twice in that time.
	LeaseTTL time.Duration
	// Backoff are the waits before a failed message is tried again; after the
	// last it is dead. Default 250 ms, 1 s, 4 s, 10 s.
	Backoff []time.Duration
	// Poll is the fall-back for lost notifications. Default 5 s.
	Poll time.Duration
	// KeepCommands is how long a handled command stays in its queue, for
	// whoever traces a conversation. Default 10 minutes.
	KeepCommands time.Duration
	// Carrier brings messages between databases. Default nil: all modules share
	// this one.
	Carrier Carrier
	// LostAfter is how long messages that a carrier brought wait for one before
	// them that did not arrive, until it counts as lost. Default 1 minute.
	LostAfter time.Duration
	// Logger gets what an operator should know. Default: slog.Default.
	Logger *slog.Logger
}

// CarrierConns is how many connections a carrier has for each hosted module,
// beside the module's pool: what its relay and its intake do is short, and
// neither takes the connections that are left for requests, nor waits for them.
const CarrierConns = 2

// SharedConns is how many connections a process uses beside its modules' pools:
// for reading, for its lease, for the leases of calls, the notifier, the listener.
const SharedConns = sharedPool + leaseConns + callConns + 2

const (
	sharedPool = 4
	leaseConns = 2
	callConns  = 2
)

// statementTimeout is what one statement of the bus or of a module may take. A
// connection that died without a word is noticed 5 s later.
const statementTimeout = 10 * time.Second

func (c *Config) setDefaults() error {
	if c.URL == "" {
		return errs.InvalidField("URL", "is empty: name the database")
	}
	if c.MaxConnsPerModule == 0 {
		c.MaxConnsPerModule = 10
	}
	if c.Executors == 0 {
		c.Executors = 3
	}
	if c.Executors < 1 || c.MaxConnsPerModule < c.Executors+2 {
		return errs.InvalidField("MaxConnsPerModule", "is %d: %d executors need at least %d connections", c.MaxConnsPerModule, c.Executors, max(c.Executors, 1)+2)
	}
	if c.MaxRun == 0 {
		c.MaxRun = 16
	}
	if c.MaxRun < 1 {
		return errs.InvalidField("MaxRun", "is %d: a transaction handles at least 1 message", c.MaxRun)
	}
	if c.LeaseTTL == 0 {
		c.LeaseTTL = 2 * time.Second
	}
	if c.LeaseTTL > cluster.MaxTTL {
		return errs.InvalidField("LeaseTTL", "is %s: it is at most %s", c.LeaseTTL, cluster.MaxTTL)
	}
	if c.Backoff == nil {
		c.Backoff = []time.Duration{250 * time.Millisecond, time.Second, 4 * time.Second, 10 * time.Second}
	}
	if c.Poll == 0 {
		c.Poll = 5 * time.Second
	}
	if c.KeepCommands == 0 {
		c.KeepCommands = 10 * time.Minute
	}
	if c.LostAfter == 0 {
		c.LostAfter = time.Minute
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return nil
}

// Transport carries the messages of the modules that this process hosts.
type Transport struct {
	cfg         Config
	topo        *bus.Topology
	process     uuid.UUID
	topics      pq.StringArray // of all modules
	db          *sql.DB        // schema bus; reads every log
	leaseDB     *sql.DB        // of lease alone
	callDB      *sql.DB        // of the leases of outbound calls alone
	notifyDB    *sql.DB
	modules     map[string]*sql.DB
	carrying    map[string]*sql.DB // likewise, for the carrier
	subscribers map[string]*subscriber
	readers     map[string]*reader
	lease       *cluster.Lease
	notifier    *cluster.Notifier
	heights     heights

	cancel     context.CancelFunc
	background sync.WaitGroup
	closeOnce  sync.Once
}

// Open connects the hosted modules. Nothing is handled before the router has
// subscribed. The schema must have been migrated. It refuses a database whose
// registry says that a topic travels by another transport.
func Open(ctx context.Context, cfg Config, topo *bus.Topology, hosted []string) (_ *Transport, err error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	process, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("process id: %w", err)
	}
	t := &Transport{
		cfg: cfg, topo: topo, process: process,
		modules: map[string]*sql.DB{}, carrying: map[string]*sql.DB{}, subscribers: map[string]*subscriber{}, readers: map[string]*reader{},
	}
	t.topics = store.Topics(topo)
	// Offsets follow the commit order only if each statement sees what was
	// committed before it, whatever the server's default is.
	if t.cfg.URL, err = withParameter(cfg.URL, "default_transaction_isolation", "read committed"); err != nil {
		return nil, err
	}
	cfg.URL = t.cfg.URL
	running, cancel := context.WithCancel(context.Background())
	t.cancel = cancel
	defer func() {
		if err != nil {
			_ = t.Close() // the first error is the one to tell
		}
	}()
	if t.db, err = postgres.Open(ctx, postgres.Config{URL: cfg.URL, Schema: "bus", Application: "millrace bus", MaxConns: sharedPool, StatementTimeout: statementTimeout}); err != nil {
		return nil, err
	}
	if err := durable(ctx, t.db); err != nil {
		return nil, err
	}
	if t.leaseDB, err = postgres.Open(ctx, postgres.Config{URL: cfg.URL, Schema: "bus", Application: "millrace lease", MaxConns: leaseConns, StatementTimeout: statementTimeout}); err != nil {
		return nil, err
	}
	if t.callDB, err = postgres.Open(ctx, postgres.Config{URL: cfg.URL, Schema: "bus", Application: "millrace calls", MaxConns: callConns, StatementTimeout: statementTimeout, LockTimeout: time.Second}); err != nil {
		return nil, err
	}
	quiet, err := withParameter(cfg.URL, "synchronous_commit", "off")
	if err != nil {
		return nil, err
	}
	if t.notifyDB, err = postgres.Open(ctx, postgres.Config{URL: quiet, Schema: "bus", Application: "millrace notifier", MaxConns: 1, StatementTimeout: statementTimeout}); err != nil {
		return nil, err
	}
	t.notifier = cluster.NewNotifier(t.notifyDB, process, 5*cfg.LeaseTTL)
	t.lease = cluster.NewLease(cluster.Config{
		Node: process, TTL: cfg.LeaseTTL, DB: t.leaseDB, Members: t.members, TopicOf: topo.TopicOf, Logger: t.cfg.Logger,
		Check:  func(ctx context.Context, db *sql.DB) error { return t.sameRoad(ctx, db) },
		Others: t.notifier.SetOthers,
	})
	if err := t.retryStart(ctx, "registering topics", t.register); err != nil {
		return nil, err
	}
	for _, module := range hosted {
		role := ""
		if cfg.RolePrefix != "" {
			role = cfg.RolePrefix + module
		}
		pool := postgres.Config{URL: cfg.URL, Schema: module, Role: role, Application: cluster.ApplicationName(module, process), MaxConns: cfg.MaxConnsPerModule, StatementTimeout: statementTimeout}
		db, err := postgres.Open(ctx, pool)
		if err != nil {
			return nil, err
		}
		t.modules[module] = db
		s := newSubscriber(t, module, db)
		t.subscribers[module] = s
		t.feed(s)
		if cfg.Carrier != nil {
			pool.MaxConns = CarrierConns
			if t.carrying[module], err = postgres.Open(ctx, pool); err != nil {
				return nil, err
			}
			relay := newRelay(t, module, t.carrying[module])
			t.subscribers[relay.module] = relay
			t.feed(relay)
		}
	}
	listening := make(chan error, 1)
	listener := t.listener()
	t.goFor(running, func(ctx context.Context) { listener.Run(ctx, listening) })
	select {
	case err := <-listening:
		if err != nil {
			return nil, err
		}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err := t.notifier.Hello(ctx); err != nil {
		return nil, err
	}
	if err := t.retryStart(ctx, "renewing the lease", t.lease.Renew); err != nil {
		return nil, err
	}
	for _, s := range t.subscribers {
		if s.relay() { // no router subscribes to it
			if err := s.start(ctx); err != nil {
				return nil, err
			}
		}
	}
	t.goFor(running, t.notifier.Run)
	t.goFor(running, t.lease.Run)
	t.goFor(running, t.keepHouse)
	return t, nil
}

func (t *Transport) goFor(ctx context.Context, loop func(context.Context)) {
	t.background.Add(1)
	go func() {
		defer t.background.Done()
		loop(ctx)
	}()
}

// carrier is what the registry says of this process's topics.
func (t *Transport) carrier() string {
	if t.cfg.Carrier == nil {
		return store.OnPostgres
	}
	return t.cfg.Carrier.Name()
}

// sameRoad makes sure that the installation was not switched to another carrier
// behind this process's back. Rows of topics that this version does not have are
// not looked at: every module's role may insert some.
func (t *Transport) sameRoad(ctx context.Context, db interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}) error {
	var other sql.NullString
	if err := db.QueryRowContext(ctx, `SELECT max(transport) FROM bus.topics WHERE transport <> $1 AND name = ANY($2)`, t.carrier(), t.topics).Scan(&other); err != nil {
		return fmt.Errorf("read the registry: %w", err)
	}
	if other.Valid {
		return errs.As(errs.Resource, switchedError{other.String, t.carrier()})
	}
	return nil
}

// switchedError is the error of a process whose configuration the installation
// left. It does not pass by itself.
type switchedError struct{ now, configured string }

func (e switchedError) Error() string {
	return fmt.Sprintf("messages travel by %s in this database now, and this process is configured for %s: end it, and start it with the present configuration", e.now, e.configured)
}

// DB is a hosted module's handle to its schema; nil for a module that is not hosted.
func (t *Transport) DB(module string) *bus.DB {
	if t.modules[module] == nil {
		return nil
	}
	return bus.NewDB(t.modules[module], module, t.topo, t).WithReserved(t.callDB)
}

// Subscriber is what the router subscribes to for a hosted module; nil for a
// module that is not hosted.
func (t *Transport) Subscriber(module string) message.Subscriber {
	if s := t.subscribers[module]; s != nil {
		return s
	}
	return nil // not a nil *subscriber, which a caller would take for one
}

// Healthy is nil while this process's lease is valid: then it may handle messages.
func (t *Transport) Healthy() error {
	if !t.lease.Valid() {
		return errs.New(errs.Resource, "the lease could not be renewed for %s: is the database reachable?", t.cfg.LeaseTTL)
	}
	return nil
}

// wake wakes this process's readers of what was committed.
func (t *Transport) wake(dirty cluster.Changes) {
	for name, partitions := range dirty {
		for p := range store.Partitions {
			if r := t.readers[name]; r != nil && partitions&(1<<p) != 0 {
				r.touch(p)
			}
		}
	}
	t.rouse(dirty)
}

// rouse wakes those who handle what the readers have.
func (t *Transport) rouse(dirty cluster.Changes) {
	for name, partitions := range dirty {
		for _, s := range t.subscribers {
			for stream, reader := range s.readers {
				if reader == t.readers[name] {
					s.wake(stream, partitions)
				}
			}
		}
	}
}

// wakeAll wakes everything: something may have been missed.
func (t *Transport) wakeAll() {
	all := cluster.Changes{}
	for name := range t.readers {
		all[name] = ^uint64(0)
	}
	t.wake(all)
}

func withParameter(target, name, value string) (string, error) {
	u, err := pgurl.Parse(target)
	if err != nil {
		return "", errs.InvalidField("URL", "%s", err)
	}
	return u.With(name, value).String(), nil
}
