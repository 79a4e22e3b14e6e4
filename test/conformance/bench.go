package conformance

import (
	"context"
	"database/sql"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
	"millrace/platform/bus/bustest"
	"millrace/platform/errs"
	"millrace/platform/postgres"
)

// patience bounds every wait. It is generous for busy machines: the lease of a slow
// process may expire, it then gets no notifications, and a message waits for the
// one-minute poll of the sender and again of the receiver.
const patience = 4 * time.Minute

// eventOffsets selects the store's offsets in event topics. On Kafka it has other offsets, too.
const eventOffsets = `(SELECT * FROM store.offsets WHERE subscriber = 'store' AND topic LIKE '%.events') AS positions`

// bench is the environment of one test.
type bench struct {
	t     *testing.T
	url   string
	make  Factory
	world World
	sql   *sql.DB // reads every schema, outside of the transport
}

func newBench(t *testing.T, world Factory) *bench {
	t.Helper()
	b := &bench{t: t, url: bustest.Database(t, "shop", "store"), make: world}
	b.world = world(b.url)
	db, err := postgres.Open(t.Context(), postgres.Config{URL: b.url, MaxConns: 8, Application: "conformance"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	b.sql = db
	return b
}

// prepare migrates for the modules, and creates an effects table in the schema of each.
func (b *bench) prepare(parts ...bus.Module) *bus.Topology {
	b.t.Helper()
	topo, err := bus.NewTopology(parts...)
	require.NoError(b.t, err)
	require.NoError(b.t, b.world.Migrate(b.t.Context(), topo))
	for _, module := range topo.Modules() {
		// No unique constraint: a duplicate effect must be visible.
		b.exec(`CREATE TABLE IF NOT EXISTS ` + module + `.effects (at bigint GENERATED ALWAYS AS IDENTITY, message uuid, type text, key text, n int)`)
		if module == "store" {
			b.recordParked()
		}
	}
	return topo
}

// process is a running router and its transport.
type process struct {
	Process
	bench  *bench
	t      *testing.T
	router *message.Router
	cancel context.CancelFunc
	done   chan error
	once   sync.Once
}

// start runs a process that hosts all the modules, until stop or the end of the test.
func (b *bench) start(o Options, parts ...bus.Module) *process {
	b.t.Helper()
	topo := b.prepare(parts...)
	return b.host(o, topo, topo.Modules())
}

func (b *bench) host(o Options, topo *bus.Topology, hosted []string) *process {
	b.t.Helper()
	if o.Poll == 0 {
		o.Poll = time.Minute // so long that no test passes by polling
	}
	opened, err := b.world.Open(b.t.Context(), topo, hosted, o)
	require.NoError(b.t, err)
	router, err := bus.NewRouter(topo, hosted, opened.Subscriber, slog.New(slog.DiscardHandler), watermill.NopLogger{})
	require.NoError(b.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{Process: opened, bench: b, t: b.t, router: router, cancel: cancel, done: make(chan error, 1)}
	go func() { p.done <- router.Run(ctx) }()
	select {
	case <-router.Running():
	case err := <-p.done:
		require.NoError(b.t, err)
	}
	b.t.Cleanup(p.stop)
	return p
}

// stop shuts the process down as the program does after SIGTERM.
func (p *process) stop() {
	p.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(p.t, p.Drain(ctx))
		require.NoError(p.t, p.router.Close())
		require.NoError(p.t, <-p.done)
		p.cancel()
		require.NoError(p.t, p.Close())
	})
}

// publish publishes the events in one transaction of the module that owns them. On
// a slow machine the lease may expire, and another process ends the transaction:
// publish then tries again, as a client would, unless the server knows that the
// transaction committed.
func (p *process) publish(events ...bus.Event) {
	p.t.Helper()
	owner, _, _ := strings.Cut(events[0].EventName(), ".")
	p.commit(owner, func(tx *bus.Tx) error {
		for _, e := range events {
			if err := tx.Publish(e); err != nil {
				return err
			}
		}
		return nil
	})
}

// send sends the commands from shop in one transaction, and retries like publish.
func (p *process) send(commands ...bus.Command) {
	p.t.Helper()
	p.commit("shop", func(tx *bus.Tx) error {
		for _, c := range commands {
			if err := tx.Send(c); err != nil {
				return err
			}
		}
		return nil
	})
}

func (p *process) commit(owner string, body func(*bus.Tx) error) {
	p.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		var transaction string
		err := p.DB(owner).InTx(context.Background(), func(tx *bus.Tx) error {
			if err := tx.QueryRowContext(context.Background(), `SELECT pg_current_xact_id()::text`).Scan(&transaction); err != nil {
				return err
			}
			return body(tx)
		})
		if err == nil {
			return
		}
		require.True(p.t, errs.KindOf(err) == errs.Resource && time.Now().Before(deadline), "%v", err)
		if transaction != "" {
			p.bench.becomes("true", `SELECT pg_xact_status($1::xid8) <> 'in progress'`, transaction)
			if p.bench.text(`SELECT pg_xact_status($1::xid8)`, transaction) == "committed" {
				return
			}
		}
	}
}

func (b *bench) exec(query string, args ...any) {
	b.t.Helper()
	_, err := b.sql.ExecContext(context.Background(), query, args...)
	require.NoError(b.t, err, query)
}

// text returns the first column of the first row, or "" when there is none.
func (b *bench) text(query string, args ...any) string {
	b.t.Helper()
	var got sql.NullString
	err := b.sql.QueryRowContext(context.Background(), query, args...).Scan(&got)
	if err != sql.ErrNoRows {
		require.NoError(b.t, err, query)
	}
	return got.String
}

// becomes waits until the query returns want.
func (b *bench) becomes(want, query string, args ...any) {
	b.t.Helper()
	b.within(patience, want, query, args...)
}

func (b *bench) within(limit time.Duration, want, query string, args ...any) {
	b.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(limit); ; <-tick.C {
		got := b.text(query, args...)
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			require.Equal(b.t, want, got, "after %s: %s\naside: %s", limit, query, b.parkedList())
		}
	}
}

// parkedList lists the parked messages of store, each as "key/offset state kind attempts".
func (b *bench) parkedList() string {
	return b.text(`SELECT string_agg(format('%s/%s %s %s %s', key, "offset", state, kind, attempts), ', ' ORDER BY key, "offset") FROM store.parked_messages`)
}

// await receives from signal; it fails the test after patience.
func await[T any](t *testing.T, what string, signal <-chan T) T {
	t.Helper()
	select {
	case v := <-signal:
		return v
	case <-time.After(patience):
		require.FailNow(t, "waited in vain", what)
		panic("unreachable")
	}
}

// effect inserts the row by which the suite recognizes that a handler ran and committed.
func effect(ctx context.Context, tx *bus.Tx, key string, n int) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO effects (message, type, key, n) VALUES ($1, $2, $3, $4)`, tx.Cause().ID, tx.Cause().Type, key, n)
	return err
}

// onceInOrder checks that the module has effects of that many keys, and for each
// key the numbers 0 to each-1, once and in order.
func (b *bench) onceInOrder(module string, keys, each int) {
	b.t.Helper()
	rows, err := b.sql.QueryContext(context.Background(), `SELECT key, string_agg(n::text, ',' ORDER BY at) FROM `+module+`.effects GROUP BY key`)
	require.NoError(b.t, err)
	defer rows.Close()
	var want []string
	for n := range each {
		want = append(want, itoa(n))
	}
	found := 0
	for rows.Next() {
		var key, got string
		require.NoError(b.t, rows.Scan(&key, &got))
		require.Equal(b.t, strings.Join(want, ","), got, "%s of %s", key, module)
		found++
	}
	require.NoError(b.t, rows.Err())
	require.Equal(b.t, keys, found, "keys")
}

// nothingParked checks that the module has no parked messages.
func (b *bench) nothingParked(module string) {
	b.t.Helper()
	require.Equal(b.t, "0", b.text(`SELECT count(*) FROM `+module+`.parked_messages`), "parked: %s", b.parkedList())
}
