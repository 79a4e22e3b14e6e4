package conformance

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
	"millrace/platform/errs"
	"millrace/platform/postgres"
	"millrace/platform/postgres/pgtest"
)

// The tests of this file repeat the tests of package stock on our own parts, and
// require the opposite result.

// many returns 50 equal waits, so that a busy machine does not use up all attempts.
func many(wait time.Duration) (all []time.Duration) {
	for range 50 {
		all = append(all, wait)
	}
	return all
}

func commandStays(t *testing.T, b *bench) {
	const commands = 50
	entered := make(chan struct{}, 100)
	var first sync.Once
	handle := bus.Handle(func(ctx context.Context, tx *bus.Tx, c pack) error {
		if c.N == 1 {
			hangs := false
			first.Do(func() { hangs = true })
			if hangs { // until its deadline, or until its process shuts down
				entered <- struct{}{}
				<-ctx.Done()
				return ctx.Err()
			}
		}
		return effect(ctx, tx, c.Order, c.N)
	})
	topo := b.prepare(part{name: "shop", sends: []bus.Command{pack{}}}, store(handle))
	o := Options{Backoff: soon, KeepCommands: time.Millisecond, Poll: 50 * time.Millisecond}
	source := b.host(o, topo, []string{"shop"})
	var all []bus.Command
	for n := range commands {
		all = append(all, pack{"order-0", n})
	}
	source.send(all...)
	p := b.host(o, topo, []string{"store"})
	await(t, "the second command's handler", entered)
	p.stop() // while the handler is inside
	b.host(o, topo, []string{"store"})
	b.becomes(itoa(commands), `SELECT count(*) FROM store.effects`)
	b.onceInOrder("store", 1, commands)
	b.nothingParked("store")
}

// ring subscribes to the events of till, which have their own topic.
func ring() bus.Subscription {
	return bus.On(func(ctx context.Context, tx *bus.Tx, r rung) error { return effect(ctx, tx, r.Order, 0) })
}

func slowElsewhere(t *testing.T, b *bench) {
	var inside atomic.Int32
	entered, release := make(chan struct{}, 100), make(chan struct{})
	t.Cleanup(sync.OnceFunc(func() { close(release) }))
	blocked := store(on(func(ctx context.Context, tx *bus.Tx, m paid) error {
		if err := effect(ctx, tx, "written and open", 0); err != nil {
			return err
		}
		inside.Add(1)
		defer inside.Add(-1)
		entered <- struct{}{}
		select {
		case <-release:
		case <-ctx.Done():
		}
		return ctx.Err()
	}))
	till := part{name: "till", publishes: []bus.Event{rung{}}}
	p := b.start(Options{Backoff: many(time.Millisecond)}, shop(), till, blocked, part{name: "desk", subscribes: []bus.Subscription{ring()}})
	p.publish(paid{Order: "slow"})
	for n := 1; ; n++ { // again if the handler's two seconds passed first, on a busy machine
		await(t, "the slow handler", entered)
		p.publish(rung{"order"})
		b.becomes(itoa(n), `SELECT count(*) FROM desk.effects`)
		if inside.Load() > 0 {
			return
		}
		require.Less(t, n, 5, "each time it was handled only when the slow handler was over")
	}
}

func openTransaction(t *testing.T, b *bench) {
	idle := func(url, statement string) {
		db, err := postgres.Open(t.Context(), postgres.Config{URL: url, Schema: "public", MaxConns: 1, Application: "idle", IdleInTxTimeout: time.Hour})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, db.Close()) })
		tx, err := db.BeginTx(context.WithoutCancel(t.Context()), nil)
		require.NoError(t, err)
		_, err = tx.ExecContext(t.Context(), statement)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, tx.Rollback(), "it was open all the time") })
	}
	p := b.start(Options{}, shop(), store(bus.On(note)))
	idle(pgtest.URL(t), `CREATE TABLE unrelated (n int)`) // another database of the same server
	idle(b.url, `INSERT INTO store.effects (key) VALUES ('unrelated')`)
	p.publish(batch(10, 2)...)
	b.becomes("20", `SELECT count(*) FROM store.effects`)
}

func atOnce(t *testing.T, b *bench) {
	met := make(chan struct{})
	var inside atomic.Int32
	meet := sync.OnceFunc(func() { close(met) })
	handle := bus.Handle(func(ctx context.Context, tx *bus.Tx, c pack) error {
		if inside.Add(1) > 1 {
			meet()
		}
		defer inside.Add(-1)
		select {
		case <-met:
			return effect(ctx, tx, c.Order, c.N)
		case <-ctx.Done():
			return errors.New("alone")
		}
	})
	topo := b.prepare(part{name: "shop", sends: []bus.Command{pack{}}}, store(handle))
	p := b.host(Options{Backoff: many(time.Millisecond)}, topo, topo.Modules())
	var all []bus.Command
	for k := range 8 {
		all = append(all, pack{Order: "order-" + itoa(k)})
	}
	p.send(all...)
	await(t, "two handlers of one queue at the same time", met)
	b.becomes("8", `SELECT count(*) FROM store.effects`)
}

func withoutPoll(t *testing.T, b *bench) {
	topo := b.prepare(shop(), store(bus.On(note)))
	o := Options{Poll: time.Hour, LeaseTTL: time.Minute} // an expired node gets no notifications
	both := b.host(o, topo, topo.Modules())
	both.publish(paid{Order: "here"})
	b.becomes("1", `SELECT count(*) FROM store.effects`)
	both.stop()
	elsewhere := b.host(o, topo, []string{"shop"})
	b.host(o, topo, []string{"store"})
	b.becomes("64", `SELECT count(node) FROM `+eventOffsets+``)
	for n := range 5 { // the first may be found when its partition is assigned; the others need a notification
		elsewhere.publish(paid{Order: "elsewhere", N: n})
		b.becomes(itoa(n+2), `SELECT count(*) FROM store.effects`)
	}
}

func failedAttempts(t *testing.T, b *bench) {
	var calls atomic.Int32
	p := b.start(Options{Backoff: soon}, shop(), store(bus.On(func(ctx context.Context, tx *bus.Tx, m paid) error {
		if err := note(ctx, tx, m); err != nil {
			return err
		}
		if calls.Add(1) <= 2 {
			return errors.New("after the effect")
		}
		return nil
	})))
	p.publish(paid{Order: "order"})
	b.becomes("1 0", `SELECT (SELECT count(*) FROM store.inbox) || ' ' || (SELECT count(*) FROM store.parked_messages)`)
	require.Equal(t, "1", b.text(`SELECT count(*) FROM store.effects`))
	require.EqualValues(t, 3, calls.Load())
}

func longRetry(t *testing.T, b *bench) {
	neighbours := keys(2)
	wait := bus.HandlerTimeout + 500*time.Millisecond
	p := b.start(Options{Backoff: []time.Duration{wait}}, shop(), store(on(func(_ context.Context, _ *bus.Tx, m paid) error {
		if m.Order == neighbours[0] {
			return errors.New("always")
		}
		return nil
	})))
	p.publish(paid{Order: neighbours[0]}, paid{Order: neighbours[1]})
	b.becomes("dead unknown 2", `SELECT format('%s %s %s', state, kind, attempts) FROM store.parked_messages`)
	// The other key of its partition did not wait for the last attempt.
	require.Equal(t, "true", b.text(`SELECT handled_at < failed_at FROM store.inbox, store.parked_messages`))
}

func configuredWaits(t *testing.T, b *bench) {
	p := b.start(Options{Backoff: []time.Duration{time.Hour, 2 * time.Hour}, Poll: 50 * time.Millisecond}, shop(), store(on(
		func(context.Context, *bus.Tx, paid) error { return errors.New("always") })))
	p.publish(paid{Order: "order"})
	for attempt, wait := range []string{"01:00:00", "02:00:00"} {
		b.becomes(itoa(attempt+1)+" "+wait, `SELECT attempts || ' ' || date_trunc('minute', next_attempt_at - failed_at + interval '30 seconds') FROM store.parked_messages`)
		b.exec(`UPDATE store.parked_messages SET next_attempt_at = clock_timestamp()`)
	}
	b.becomes("dead 3", `SELECT state || ' ' || attempts FROM store.parked_messages`)
}

func deadLetterUnchanged(t *testing.T, b *bench) {
	p := b.start(Options{}, shop(), store(on(func(context.Context, *bus.Tx, paid) error { return errs.New(errs.Invalid, "breaks a rule") })))
	p.publish(paid{Order: "order", Pad: "set by its sender"})
	b.becomes("1", `SELECT count(*) FROM store.parked_messages WHERE state = 'dead'`)
	require.Equal(t, "1 invalid", b.text(`SELECT a.attempts || ' ' || a.kind FROM store.parked_messages a JOIN shop.log l ON l.id = a.message_id
		WHERE a.payload = l.payload AND a.metadata::jsonb = l.metadata::jsonb AND a.error LIKE '%breaks a rule%' AND a.failed_at >= l.created_at`))
}

func unknownCommand(t *testing.T, b *bench) {
	handle := bus.Handle(func(ctx context.Context, tx *bus.Tx, c pack) error { return effect(ctx, tx, c.Order, c.N) })
	also := bus.Handle(func(ctx context.Context, tx *bus.Tx, c repack) error { return effect(ctx, tx, c.Order, 0) })
	newer := b.prepare(part{name: "shop", sends: []bus.Command{pack{}, repack{}}}, store(handle, also))
	older, err := bus.NewTopology(part{name: "shop", sends: []bus.Command{pack{}}}, store(handle))
	require.NoError(t, err)
	source := b.host(Options{}, newer, []string{"shop"})
	p := b.host(Options{KeepCommands: time.Millisecond, Poll: 50 * time.Millisecond}, older, []string{"store"})
	source.send(repack{"order-1"}, pack{"order-2", 0})
	b.becomes("order-2", `SELECT string_agg(key, ',') FROM store.effects`)
	b.becomes("store.repack order-1", `SELECT type || ' ' || key FROM store.parked_messages`) // visible to an operator
	p.stop()
	b.host(Options{}, newer, []string{"store"}) // handles it
	b.becomes("order-2,order-1", `SELECT string_agg(key, ',' ORDER BY at) FROM store.effects`)
	b.nothingParked("store")
}

type repack struct {
	Order string `json:"order"`
}

func (repack) CommandName() string { return "store.repack" }
func (r repack) Key() string       { return r.Order }

func inBatches(t *testing.T, b *bench) {
	topo := b.prepare(shop(), store(bus.On(note)))
	b.host(Options{}, topo, []string{"shop"}).publish(batch(1, 64)...)
	b.host(Options{}, topo, []string{"store"})
	b.becomes("64", `SELECT count(*) FROM store.inbox`)
	require.Equal(t, "true", b.text(`SELECT count(DISTINCT xmin::text) < 64 FROM store.inbox`), "each message had a transaction of its own")
}

func inFlightAtTheEnd(t *testing.T, b *bench) {
	entered, release, left := make(chan struct{}, 10), make(chan struct{}), make(chan error, 10)
	topo := b.prepare(shop(), store(on(func(ctx context.Context, _ *bus.Tx, _ paid) error {
		entered <- struct{}{}
		<-release
		left <- ctx.Err()
		return nil
	})))
	p := b.host(Options{Backoff: soon}, topo, topo.Modules())
	b.becomes("64", `SELECT count(node) FROM `+eventOffsets+``)
	mine := b.text(`SELECT node FROM ` + eventOffsets + ` LIMIT 1`)
	p.publish(paid{Order: "order"})
	await(t, "the handler", entered)
	p.cancel() // the router's context ends, and another process gets its partitions
	b.host(Options{Backoff: soon}, topo, topo.Modules())
	b.becomes("true", `SELECT count(*) >= 63 FROM `+eventOffsets+` WHERE node <> $1::uuid`, mine)
	close(release)
	require.NotErrorIs(t, await(t, "the handler's end", left), context.Canceled)
	p.stop()
	b.becomes("1", `SELECT count(*) FROM store.effects`)
}

// Events of two modules whose names differ only in the last of thirty letters.
type alikeA struct{ rung }
type alikeB struct{ rung }

func (alikeA) EventName() string { return "alikealikealikealikealikealia.done" }
func (alikeB) EventName() string { return "alikealikealikealikealikealib.done" }

func commonPrefix(t *testing.T, b *bench) {
	owner := func(e bus.Event) part {
		name, _, _ := strings.Cut(e.EventName(), ".")
		return part{name: name, publishes: []bus.Event{e}}
	}
	subscriber := store(bus.On(func(ctx context.Context, tx *bus.Tx, e alikeA) error { return effect(ctx, tx, e.Order, 0) }))
	p := b.start(Options{}, owner(alikeA{}), owner(alikeB{}), subscriber)
	p.publish(alikeB{rung{"order of b"}})
	p.publish(alikeA{rung{"order of a"}})
	b.becomes("order of a", `SELECT string_agg(key, ',') FROM store.effects`)
	require.Equal(t, "1", b.text(`SELECT sum(committed_offset) FROM `+eventOffsets+``))
}
