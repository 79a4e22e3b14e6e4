package conformance

import (
	"context"
	"errors"
	"io"
	"runtime"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
	busstore "millrace/platform/bus/store"
	"millrace/platform/errs"
)

func goexit() error {
	runtime.Goexit()
	return nil
}

// failure is one way for a handler to fail, and the expected result for its message.
type failure struct {
	handler func(ctx context.Context, tx *bus.Tx) error
	state   string // of the message: "state kind attempts", or "handled"
	errText string // part of the error that the operator sees
}

// failures has every error kind, and every way to fail without returning an error.
// The tests configure one wait, so a message that is retried is dead after two attempts.
func failures() map[string]failure {
	all := map[string]failure{}
	for _, kind := range errs.Kinds() {
		f := failure{handler: func(context.Context, *bus.Tx) error { return errs.New(kind, "of kind %s", kind) }, errText: "of kind " + kind.String()}
		switch kind.Reaction() {
		case errs.Dead:
			f.state = "dead " + kind.String() + " 1"
		case errs.Retry, errs.Again:
			f.state = "dead " + kind.String() + " 2"
		case errs.Leave: // no shutdown is in progress
			f.state = "dead unknown 2"
		case errs.Pause: // the entry "a resource that comes back" covers it
			continue
		}
		all["an error of kind "+kind.String()] = f
	}
	var away atomic.Int32
	all["a resource that comes back"] = failure{state: "handled", handler: func(context.Context, *bus.Tx) error {
		if away.Add(1) <= 4 {
			return errs.New(errs.Resource, "away")
		}
		return nil
	}}
	exec := func(query string) func(context.Context, *bus.Tx) error {
		return func(ctx context.Context, tx *bus.Tx) error { _, err := tx.ExecContext(ctx, query); return err }
	}
	for name, f := range map[string]failure{
		"a plain error":        {func(context.Context, *bus.Tx) error { return errors.New("plain") }, "dead unknown 2", "plain"},
		"a panic":              {func(context.Context, *bus.Tx) error { panic("aargh") }, "dead unknown 2", "aargh"},
		"the end of goroutine": {func(context.Context, *bus.Tx) error { return goexit() }, "dead unknown 2", "ended its goroutine"},
		"a cancelled context":  {func(context.Context, *bus.Tx) error { return context.Canceled }, "dead unknown 2", "canceled"},
		"an end of file":       {func(context.Context, *bus.Tx) error { return io.EOF }, "dead unknown 2", "EOF"},
		"a unique constraint":  {exec(`INSERT INTO once VALUES (1)`), "dead unknown 2", "once_pkey"},
		"a deferred one":       {exec(`INSERT INTO child VALUES (17)`), "dead conflict 1", "child_parent_fkey"},
		"an SQL error":         {exec(`SELECT 1/0`), "dead invalid 1", "division by zero"},
		"a swallowed one": {func(ctx context.Context, tx *bus.Tx) error {
			_ = exec(`SELECT 1/0`)(ctx, tx)
			return nil
		}, "dead unknown 2", "swallowed"},
		"rows left open": {func(ctx context.Context, tx *bus.Tx) error {
			rows, err := tx.QueryContext(ctx, `SELECT generate_series(1, 3)`)
			if err != nil {
				return err
			}
			rows.Next()
			return rows.Err()
		}, "dead unknown 2", "open"},
		"rows left open with an error": {func(ctx context.Context, tx *bus.Tx) error {
			rows, err := tx.QueryContext(ctx, `SELECT generate_series(1, 3)`)
			if err != nil {
				return err
			}
			rows.Next()
			return errs.New(errs.Invalid, "in the middle")
		}, "dead invalid 1", "in the middle"},
		"a rollback by hand": {exec(`ROLLBACK`), "dead invalid 1", "by hand"},
	} {
		all[name] = f
	}
	return all
}

func failureTable(t *testing.T, b *bench) {
	table := failures()
	var names []string
	for name := range table {
		names = append(names, name)
	}
	sort.Strings(names)
	order := map[string]failure{} // by key
	var events []bus.Event
	all := keys(2 * len(names))
	for i, name := range names {
		order[all[2*i]] = table[name]
		// A failing key and a healthy one, two messages each: all in the same batches.
		for n := range 2 {
			events = append(events, paid{Order: all[2*i], N: n}, paid{Order: all[2*i+1], N: n})
		}
	}
	handler := func(ctx context.Context, tx *bus.Tx, m paid) error {
		if err := note(ctx, tx, m); err != nil {
			return err
		}
		if err := tx.Publish(packed{m.Order, m.N}); err != nil {
			return err
		}
		if f, ok := order[m.Order]; ok && m.N == 0 {
			return f.handler(ctx, tx)
		}
		return nil
	}
	parts := []bus.Module{shop(), part{name: "store", publishes: []bus.Event{packed{}}, subscribes: []bus.Subscription{bus.On(handler)}}}
	topo := b.prepare(parts...)
	b.exec(`CREATE TABLE store.once (id int PRIMARY KEY)`)
	b.exec(`INSERT INTO store.once VALUES (1)`)
	b.exec(`CREATE TABLE store.parent (id int PRIMARY KEY)`)
	b.exec(`CREATE TABLE store.child (parent int REFERENCES store.parent DEFERRABLE INITIALLY DEFERRED)`)
	p := b.host(Options{Backoff: soon[:1]}, topo, topo.Modules())
	p.publish(events...)

	handled := 2 * len(names)
	for _, name := range names {
		if table[name].state == "handled" {
			handled += 2
		}
	}
	// Every message of a healthy key is handled; every other one is dead or blocked by a dead one.
	b.becomes(itoa(handled)+" "+itoa(len(events)-handled), `SELECT (SELECT count(*) FROM store.effects) || ' ' || (SELECT count(*) FROM store.parked_messages WHERE state IN ('dead', 'blocked'))`)
	for i, name := range names {
		got := b.text(`SELECT format('%s %s %s', state, kind, attempts) FROM store.parked_messages WHERE key = $1 ORDER BY "offset" LIMIT 1`, all[2*i])
		if got == "" {
			got = "handled"
		}
		require.Equal(t, table[name].state, got, name)
		if got != "handled" {
			errText := b.text(`SELECT error FROM store.parked_messages WHERE key = $1 ORDER BY "offset" LIMIT 1`, all[2*i])
			require.Contains(t, errText, table[name].errText, name)
			require.Equal(t, "blocked", b.text(`SELECT state FROM store.parked_messages WHERE key = $1 ORDER BY "offset" DESC LIMIT 1`, all[2*i]), name)
		}
	}
	// Nothing that a failed handler wrote or published remains.
	require.Equal(t, "0", b.text(`SELECT count(*) FROM store.inbox i FULL JOIN store.effects e ON e.message = i.message_id WHERE e.message IS NULL OR i.message_id IS NULL`))
	require.Equal(t, itoa(handled), b.text(`SELECT count(*) FROM store.log`))
	require.Equal(t, "0", b.text(`SELECT count(*) FROM store.child`))
}

// neverParked checks that no message of store was parked at any time. Timeouts are
// allowed, and the messages that they block: on a machine that stalls for two
// seconds any handler exceeds its time limit.
func (b *bench) neverParked() {
	b.t.Helper()
	require.Equal(b.t, "", b.text(`SELECT string_agg(line, ', ') FROM store.parked_ever WHERE kind <> 'timeout' AND state <> 'blocked'`),
		"something was parked: %s", b.parkedList())
}

// recordParked records every message that store parks, even if it is released later.
func (b *bench) recordParked() {
	b.t.Helper()
	b.exec(`CREATE TABLE IF NOT EXISTS store.parked_ever (line text, kind text, state text)`)
	b.exec(`CREATE OR REPLACE FUNCTION store.parked_ever() RETURNS trigger LANGUAGE plpgsql AS
		'BEGIN INSERT INTO store.parked_ever VALUES (format(''%s/%s %s %s %s'', NEW.key, NEW."offset", NEW.state, NEW.kind, NEW.error), NEW.kind, NEW.state); RETURN NULL; END'`)
	b.exec(`CREATE OR REPLACE TRIGGER parked_ever AFTER INSERT ON store.parked_messages FOR EACH ROW EXECUTE FUNCTION store.parked_ever()`)
}

func contention(t *testing.T, b *bench) {
	var healing, stubborn atomic.Int32
	p := b.start(Options{Backoff: []time.Duration{time.Hour}}, shop(), store(on(func(_ context.Context, _ *bus.Tx, m paid) error {
		switch m.Order {
		case "healing": // the first batch, and five retries
			if healing.Add(1) <= 6 {
				return &pq.Error{Code: "40001", Message: "could not serialize"}
			}
		case "stubborn":
			stubborn.Add(1)
			return &pq.Error{Code: "40P01", Message: "deadlock detected"}
		}
		return nil
	})))
	p.publish(paid{Order: "healing"}, paid{Order: "other"})
	b.becomes("healing,other", `SELECT string_agg(key, ',' ORDER BY key) FROM store.effects`)
	b.neverParked()
	require.EqualValues(t, 7, healing.Load())
	p.publish(paid{Order: "stubborn"})
	b.becomes("retry_scheduled contention 1", `SELECT format('%s %s %s', state, kind, attempts) FROM store.parked_messages`)
	require.EqualValues(t, 7, stubborn.Load(), "once in the first run, then once and five times more")
}

func realContention(t *testing.T, b *bench) {
	locked := map[string]chan struct{}{"deadlock": make(chan struct{}, 10), "timeout": make(chan struct{}, 10)}
	release := make(chan struct{})
	topo := b.prepare(shop(), store(on(func(ctx context.Context, tx *bus.Tx, m paid) error {
		for _, query := range map[string][]string{
			"deadlock": {`SET LOCAL deadlock_timeout = '10ms'`, `UPDATE rows SET n = n + 1 WHERE id = 1`, "wait", `UPDATE rows SET n = n + 1 WHERE id = 2`},
			"timeout":  {`SET LOCAL lock_timeout = '500ms'`, "wait", `UPDATE rows SET n = n + 1 WHERE id = 3`},
		}[m.Order] {
			if query == "wait" {
				locked[m.Order] <- struct{}{}
				select {
				case <-release:
				case <-ctx.Done():
				}
			} else if _, err := tx.ExecContext(ctx, query); err != nil {
				return err
			}
		}
		return nil
	})))
	b.exec(`CREATE TABLE store.rows AS SELECT id, 0 AS n FROM generate_series(1, 3) AS id`)
	p := b.host(Options{Backoff: soon}, topo, topo.Modules()) // retries, since a busy machine may exceed the time limit

	other, err := b.sql.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	for _, query := range []string{`SET LOCAL deadlock_timeout = '1min'`, `SET LOCAL idle_in_transaction_session_timeout = 0`, `UPDATE store.rows SET n = n + 10 WHERE id = 2`} {
		_, err = other.ExecContext(t.Context(), query)
		require.NoError(t, err)
	}
	p.publish(paid{Order: "deadlock"})
	await(t, "the handler's first lock", locked["deadlock"])
	done := make(chan error, 1)
	go func() {
		_, err := other.ExecContext(context.Background(), `UPDATE store.rows SET n = n + 10 WHERE id = 1`)
		done <- errors.Join(err, other.Commit())
	}()
	b.becomes("1", `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE 'UPDATE store.rows%'`)
	close(release)
	require.NoError(t, await(t, "the other transaction", done))
	b.becomes("deadlock", `SELECT key FROM store.effects`)
	require.Equal(t, "11,11", b.text(`SELECT string_agg(n::text, ',') FROM store.rows WHERE id < 3`))

	holder, err := b.sql.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	for _, query := range []string{`SET LOCAL idle_in_transaction_session_timeout = 0`, `UPDATE store.rows SET n = n + 10 WHERE id = 3`} {
		_, err = holder.ExecContext(t.Context(), query)
		require.NoError(t, err)
	}
	p.publish(paid{Order: "timeout"})
	for range 3 { // the first batch, the isolated batch, and its first retry
		await(t, "the handler's try", locked["timeout"])
	}
	require.NoError(t, holder.Commit())
	b.becomes("2", `SELECT count(*) FROM store.effects`)
	require.Equal(t, "11", b.text(`SELECT n FROM store.rows WHERE id = 3`))
	b.neverParked()
}

func resource(t *testing.T, b *bench) {
	var tries atomic.Int32
	p := b.start(Options{Backoff: soon}, shop(), store(on(func(_ context.Context, _ *bus.Tx, m paid) error {
		if m.Order == "order-1" && m.N == 1 && tries.Add(1) <= 6 {
			return &pq.Error{Code: "53100", Message: "could not extend file: No space left on device"}
		}
		return nil
	})))
	p.publish(batch(5, 3)...)
	b.becomes("15", `SELECT count(*) FROM store.effects`)
	b.onceInOrder("store", 5, 3)
	b.neverParked()
}

func hang(t *testing.T, b *bench) {
	entered, release := make(chan struct{}, 10), make(chan struct{})
	var calls atomic.Int32
	p := b.start(Options{Backoff: []time.Duration{time.Hour}}, shop(), store(on(func(_ context.Context, _ *bus.Tx, m paid) error {
		if m.N == 1 {
			calls.Add(1)
			entered <- struct{}{}
			<-release // ignores its context
		}
		return nil
	})))
	t.Cleanup(func() { close(release) })
	neighbours := keys(3)
	p.publish(paid{Order: neighbours[0]}, paid{Order: neighbours[0], N: 1}, paid{Order: neighbours[0], N: 2}, paid{Order: neighbours[1]})
	await(t, "the handler that hangs", entered)
	for k := range 30 {
		p.publish(paid{Order: "elsewhere-" + itoa(k)})
	}
	b.becomes("true", `SELECT count(*) >= 25 FROM store.effects WHERE key LIKE 'elsewhere%'`) // some may be of the hanging partition
	b.becomes("retry_scheduled timeout 1,blocked unknown 0", `SELECT string_agg(format('%s %s %s', state, kind, attempts), ',' ORDER BY "offset") FROM store.parked_messages`)
	b.becomes("32", `SELECT count(*) FROM store.effects`)
	require.LessOrEqual(t, calls.Load(), int32(2), "a time-out is not tried again; but a run that other partitions share is given up before")
}

// hangMany has as many handlers hang at once as a module has workers.
func hangMany(t *testing.T, b *bench) {
	const hanging = 3
	entered, release := make(chan struct{}, 100), make(chan struct{})
	p := b.start(Options{Backoff: []time.Duration{time.Hour}}, shop(), store(on(func(_ context.Context, _ *bus.Tx, m paid) error {
		if strings.HasPrefix(m.Order, "hangs") {
			entered <- struct{}{}
			<-release // ignores its context
		}
		return nil
	})))
	t.Cleanup(func() { close(release) }) // cleanups run in reverse order: before the process is stopped
	for round := range 10 {              // again if their time limit passed first, on a busy machine
		partitions := map[int]bool{}
		for k := 0; len(partitions) < hanging; k++ {
			key := "hangs-" + itoa(round) + "-" + itoa(k)
			if partition := busstore.PartitionOf(key); !partitions[partition] {
				partitions[partition] = true
				p.publish(paid{Order: key})
			}
		}
		for range hanging {
			await(t, "handlers that hang", entered)
		}
		published := 0
		for k := 0; published < 30; k++ {
			key := "elsewhere-" + itoa(round) + "-" + itoa(k)
			if !partitions[busstore.PartitionOf(key)] {
				p.publish(paid{Order: key})
				published++
			}
		}
		b.becomes(itoa(30*(round+1)), `SELECT count(*) FROM store.effects`)
		if b.text(`SELECT count(*) FROM store.parked_messages`) == itoa(hanging*round) {
			return // no time limit passed
		}
	}
	require.Fail(t, "the other partitions were worked on only when the hanging handlers had been given up")
}

func slow(t *testing.T, b *bench) {
	var calls atomic.Int32
	neighbours := keys(2)
	p := b.start(Options{Backoff: []time.Duration{time.Hour}}, shop(), store(on(func(ctx context.Context, tx *bus.Tx, m paid) error {
		if m.Order == neighbours[0] {
			calls.Add(1)
			if m.N == 0 { // its own context does not extend the time limit
				ctx = context.Background()
			}
			_, err := tx.ExecContext(ctx, `SELECT pg_sleep(60)`)
			return err
		}
		return nil
	})))
	p.publish(paid{Order: neighbours[1]}, paid{Order: neighbours[0]}, paid{Order: neighbours[1], N: 1})
	b.becomes("retry_scheduled timeout 1", `SELECT format('%s %s %s', state, kind, attempts) FROM store.parked_messages`)
	require.Contains(t, b.text(`SELECT error FROM store.parked_messages`), "time limit")
	b.becomes("2", `SELECT count(*) FROM store.effects`)
	require.EqualValues(t, 1, calls.Load())
}

func ownMiddleware(t *testing.T, b *bench) {
	var mu sync.Mutex
	var order []string
	named := func(name string) message.HandlerMiddleware {
		return func(next message.HandlerFunc) message.HandlerFunc {
			return func(msg *message.Message) ([]*message.Message, error) {
				mu.Lock()
				order = append(order, name+" "+msg.Metadata.Get("ce_partitionkey"))
				mu.Unlock()
				out, err := next(msg)
				if err == nil && name == "inner" && strings.HasPrefix(msg.Metadata.Get("ce_partitionkey"), "bad") {
					err = errs.New(errs.Forbidden, "refused by the module's own middleware")
				}
				return out, err
			}
		}
	}
	p := b.start(Options{}, shop(), store(bus.On(note, named("outer"), named("inner"))))
	p.publish(paid{Order: "good"})
	b.becomes("good", `SELECT key FROM store.effects`)
	require.Equal(t, []string{"outer good", "inner good"}, order)
	p.publish(paid{Order: "bad"})
	// The middleware returned an error after the handler succeeded, so the effect is rolled back.
	b.becomes("dead forbidden 1", `SELECT format('%s %s %s', state, kind, attempts) FROM store.parked_messages`)
	require.Equal(t, "good", b.text(`SELECT string_agg(key, ',') FROM store.effects`))
}

func handlersVisible(t *testing.T, b *bench) {
	handle := bus.Handle(func(context.Context, *bus.Tx, pack) error { return nil })
	every := part{name: "ear", subscribes: []bus.Subscription{bus.OnEvery(func(context.Context, *bus.Tx, bus.Received) error { return nil })}}
	p := b.start(Options{}, shop(), store(bus.On(note), handle), every)
	var names []string
	for name := range p.router.Handlers() {
		names = append(names, name)
	}
	require.ElementsMatch(t, []string{"store/shop.paid", "store/store.pack", "ear/shop.paid", "ear/shop.noted"}, names)
}
