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
	"millrace/platform/errs"
	"millrace/platform/postgres"
	"millrace/platform/postgres/pgtest"
)

// patience bounds every wait. It is generous: the machine may be busy. A process
// that is slow may be taken for dead and told nothing, so that a message waits for
// the poll of a minute, on its way out and on its way in.
const patience = 4 * time.Minute

// hearing are the store's positions in events; under a carrier it has others too.
const hearing = `(SELECT * FROM store.positions WHERE subscriber = 'store' AND topic LIKE '%.events') AS positions`

// bench is one test's world.
type bench struct {
	t     *testing.T
	url   string
	make  Factory
	world World
	sql   *sql.DB // looks into every schema
}

func newBench(t *testing.T, world Factory) *bench {
	t.Helper()
	b := &bench{t: t, url: pgtest.URL(t), make: world}
	b.world = world(b.url)
	db, err := postgres.Open(t.Context(), postgres.Config{URL: b.url, MaxConns: 8, Application: "conformance"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	b.sql = db
	return b
}

// prepare migrates for the parts, and gives each a table for its effects.
func (b *bench) prepare(parts ...bus.Module) *bus.Topology {
	b.t.Helper()
	topo, err := bus.NewTopology(parts...)
	require.NoError(b.t, err)
	require.NoError(b.t, b.world.Migrate(b.t.Context(), topo))
	for _, module := range topo.Modules() {
		// Nothing is unique here: a second effect must be seen.
		b.exec(`CREATE TABLE IF NOT EXISTS ` + module + `.effects (at bigint GENERATED ALWAYS AS IDENTITY, message uuid, type text, key text, n int)`)
		if module == "store" {
			b.noteAside()
		}
	}
	return topo
}

// process is a router and a transport at work.
type process struct {
	Process
	bench  *bench
	t      *testing.T
	router *message.Router
	cancel context.CancelFunc
	done   chan error
	once   sync.Once
}

// start runs a process that hosts all the parts, until stop or the test's end.
func (b *bench) start(o Options, parts ...bus.Module) *process {
	b.t.Helper()
	topo := b.prepare(parts...)
	return b.host(o, topo, topo.Modules())
}

func (b *bench) host(o Options, topo *bus.Topology, hosted []string) *process {
	b.t.Helper()
	if o.Poll == 0 {
		o.Poll = time.Minute // nothing may depend on it
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

// stop ends the process as the program does at SIGTERM.
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

// publish says the events in one transaction of the module that owns them. A
// process that is slow may be taken for dead, and its transaction ended: what was
// not committed, as the server says, is said again, as any client does.
func (p *process) publish(events ...bus.Event) {
	p.t.Helper()
	owner, _, _ := strings.Cut(events[0].EventName(), ".")
	p.say(owner, func(tx *bus.Tx) error {
		for _, e := range events {
			if err := tx.Publish(e); err != nil {
				return err
			}
		}
		return nil
	})
}

// send has the shop send the commands in one transaction, likewise.
func (p *process) send(commands ...bus.Command) {
	p.t.Helper()
	p.say("shop", func(tx *bus.Tx) error {
		for _, c := range commands {
			if err := tx.Send(c); err != nil {
				return err
			}
		}
		return nil
	})
}

func (p *process) say(owner string, words func(*bus.Tx) error) {
	p.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		var transaction string
		err := p.DB(owner).InTx(context.Background(), func(tx *bus.Tx) error {
			if err := tx.QueryRowContext(context.Background(), `SELECT pg_current_xact_id()::text`).Scan(&transaction); err != nil {
				return err
			}
			return words(tx)
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

// becomes waits until a query answers want.
func (b *bench) becomes(want, query string, args ...any) {
	b.t.Helper()
	b.within(patience, want, query, args...)
}

func (b *bench) within(limit time.Duration, want, query string, args ...any) {
	b.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(limit); ; <-tick.C {
		got := b.text(query, args...)
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			require.Equal(b.t, want, got, "after %s: %s\naside: %s", limit, query, b.asides())
		}
	}
}

// asides lists what is aside at the store, as "key n state kind attempts".
func (b *bench) asides() string {
	return b.text(`SELECT string_agg(format('%s/%s %s %s %s', key, "offset", state, kind, attempts), ', ' ORDER BY key, "offset") FROM store.aside`)
}

// await waits for a signal.
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

// effect is how the suite's handlers leave their mark.
func effect(ctx context.Context, tx *bus.Tx, key string, n int) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO effects (message, type, key, n) VALUES ($1, $2, $3, $4)`, tx.Cause().ID, tx.Cause().Type, key, n)
	return err
}

// once checks that the store has each key's effects exactly once, in order,
// from 0 to each-1, for so many keys.
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

// nothingAside checks that there are no dead letters, and nothing on its way there.
func (b *bench) nothingAside(module string) {
	b.t.Helper()
	require.Equal(b.t, "0", b.text(`SELECT count(*) FROM `+module+`.aside`), "aside: %s", b.asides())
}
