//go:build kafka || slow || cloudevents

package kafka

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
	"millrace/platform/bus/admin"
	"millrace/platform/bus/kafkabridge"
	"millrace/platform/bus/sqltransport"
	"millrace/platform/postgres"
	"millrace/platform/postgres/pgtest"
)

// patience bounds every wait. It is generous: three brokers that elect leaders keep
// two cores busy by themselves.
const patience = 3 * time.Minute

// module is a module of the suite.
type module struct {
	name       string
	publishes  []bus.Event
	sends      []bus.Command
	subscribes []bus.Subscription
}

func (m module) Name() string                      { return m.name }
func (m module) Publishes() []bus.Event            { return m.publishes }
func (m module) Sends() []bus.Command              { return m.sends }
func (m module) Subscriptions() []bus.Subscription { return m.subscribes }

type paid struct {
	Order string `json:"order"`
	N     int    `json:"n"`
}

func (paid) EventName() string { return "shop.paid" }
func (p paid) Key() string     { return p.Order }

type pack struct {
	Order string `json:"order"`
}

func (pack) CommandName() string { return "store.pack" }
func (p pack) Key() string       { return p.Order }

// modules declares shop, which publishes events and sends commands, and store, whose
// handlers insert rows. Each handler takes slow, and working counts the running ones.
func modules(t *testing.T, slow time.Duration, working *atomic.Int64) *bus.Topology {
	t.Helper()
	effect := func(ctx context.Context, tx *bus.Tx, key string, n int) error {
		working.Add(1)
		defer working.Add(-1)
		if key == brokenOrder {
			return errors.New("the handler fails")
		}
		if slow > 0 {
			if _, err := tx.ExecContext(ctx, `SELECT pg_sleep($1)`, slow.Seconds()); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO effects (key, n) VALUES ($1, $2)`, key, n)
		return err
	}
	note := func(ctx context.Context, tx *bus.Tx, p paid) error { return effect(ctx, tx, p.Order, p.N) }
	packs := func(ctx context.Context, tx *bus.Tx, p pack) error { return effect(ctx, tx, p.Order, -1) }
	topo, err := bus.NewTopology(
		module{name: "shop", publishes: []bus.Event{paid{}}, sends: []bus.Command{pack{}}},
		module{name: "store", subscribes: []bus.Subscription{bus.On(note), bus.Handle(packs)}})
	require.NoError(t, err)
	return topo
}

// opened is a transport with its router and database.
type opened struct {
	*kafkabridge.Transport
	t     *testing.T
	cfg   kafkabridge.Config
	url   string
	lease time.Duration // 0: the default
	topo  *bus.Topology
	db    *sql.DB // for the test's own queries
	text  func(query string) string
	stop  func()

	working atomic.Int64 // number of running handlers
}

// brokenOrder is the key whose messages always fail.
const brokenOrder = "broken"

// open runs a process that hosts both modules, on a new database.
func open(t *testing.T, cfg kafkabridge.Config) *opened {
	t.Helper()
	return openSlow(t, cfg, 0)
}

// openSlow is open with handlers that take as long as slow.
func openSlow(t *testing.T, cfg kafkabridge.Config, slow time.Duration) *opened {
	t.Helper()
	o := &opened{t: t, cfg: cfg, url: pgtest.URL(t)}
	o.topo = modules(t, slow, &o.working)
	o.begin(o.topo.Modules())
	return o
}

// begin migrates the database, and starts a process that hosts the modules.
func (o *opened) begin(modules []string) {
	t := o.t
	t.Helper()
	require.NoError(t, admin.Migrate(t.Context(), o.url, o.topo))
	db, err := postgres.Open(t.Context(), postgres.Config{URL: o.url, MaxConns: 2})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	_, err = db.ExecContext(t.Context(), `CREATE TABLE store.effects (at bigint GENERATED ALWAYS AS IDENTITY, key text, n int)`)
	require.NoError(t, err)
	o.db = db
	o.text = func(query string) (got string) {
		require.NoError(t, db.QueryRowContext(context.Background(), query).Scan(&got), query)
		return got
	}
	o.Transport, o.stop = o.host(modules)
}

// host starts another process with the modules; stop shuts it down.
func (o *opened) host(modules []string) (_ *kafkabridge.Transport, stop func()) {
	t := o.t
	t.Helper()
	transport, err := kafkabridge.Open(t.Context(), o.cfg, sqltransport.Config{URL: o.url, MaxConnsPerModule: 6, Poll: time.Minute, LeaseTTL: o.lease, Logger: o.cfg.Logger}, o.topo, modules)
	require.NoError(t, err)
	router, err := bus.NewRouter(o.topo, modules, transport.Subscriber, slog.New(slog.DiscardHandler), watermill.NopLogger{})
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- router.Run(context.Background()) }()
	<-router.Running()
	stop = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, transport.Drain(ctx))
		require.NoError(t, router.Close())
		require.NoError(t, <-done)
		require.NoError(t, transport.Close())
	})
	t.Cleanup(stop)
	return transport, stop
}

// publishOne publishes an event and sends a command, in one transaction.
func (o *opened) publishOne(key string, n int) error {
	return o.DB("shop").InTx(context.Background(), func(tx *bus.Tx) error { return publishIn(tx, key, n) })
}

func publishIn(tx *bus.Tx, key string, n int) error {
	return errors.Join(tx.Publish(paid{Order: key, N: n}), tx.Send(pack{Order: key}))
}

// publish publishes n events with five keys, numbered from first, and as many commands.
func (o *opened) publish(first, n int) {
	o.t.Helper()
	for i := range n {
		require.NoError(o.t, o.publishOne("order-"+string(rune('a'+i%5)), first+i))
	}
}

// atWork waits until a handler is running.
func (o *opened) atWork() {
	o.t.Helper()
	eventually(o.t, "a handler at work", func() bool { return o.working.Load() > 0 })
}

// effects waits until n events and n commands have had exactly one effect each, in
// order, and checks that no message is parked.
func (o *opened) effects(n int) {
	o.t.Helper()
	o.took(n)
	require.Equal(o.t, "0", o.text(`SELECT count(*) FROM store.parked_messages`))
}

// took is effects without the check for parked messages.
func (o *opened) took(n int) {
	o.t.Helper()
	eventually(o.t, strconv.Itoa(n)+" effects", func() bool {
		return o.text(`SELECT count(*) FILTER (WHERE n >= 0) || ' ' || count(*) FILTER (WHERE n < 0) FROM store.effects`) == strconv.Itoa(n)+" "+strconv.Itoa(n)
	})
	require.Equal(o.t, "0", o.text(`SELECT count(*) FROM (SELECT n - lag(n) OVER (PARTITION BY key ORDER BY at) AS step FROM store.effects WHERE n >= 0) AS s WHERE step <= 0`))
}

// eventually polls until holds returns true; it fails the test after patience.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !holds(); <-tick.C {
		require.True(t, time.Now().Before(deadline), "waited in vain for %s", what)
	}
}
