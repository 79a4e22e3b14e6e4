package conformance

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
	"millrace/platform/bus/deadletter"
	"millrace/platform/errs"
)

var soon = []time.Duration{5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond}

func orderThroughFailures(t *testing.T, b *bench) {
	const keys, each = 12, 25
	var mu sync.Mutex
	tries := map[paid]int{}
	p := b.start(Options{Backoff: soon}, shop(), store(on(func(_ context.Context, _ *bus.Tx, m paid) error {
		mu.Lock()
		tries[m]++
		try := tries[m]
		mu.Unlock()
		switch {
		case m.N%7 == 3 && try <= 3: // its first batch, the isolated batch, and the first retry
			return errors.New("fails at first")
		case m.N%11 == 5 && try <= 3:
			return &pq.Error{Code: "40001", Message: "could not serialize"}
		}
		return nil
	})))
	var writers sync.WaitGroup
	for w := range 4 { // one writer for each key, so that its order is known
		writers.Go(func() {
			for n := range each {
				for k := w; k < keys; k += 4 {
					p.publish(paid{Order: "order-" + itoa(k), N: n})
				}
			}
		})
	}
	writers.Wait()
	b.becomes(itoa(keys*each), `SELECT count(*) FROM store.effects`)
	b.becomes("0", `SELECT count(*) FROM store.parked_messages`)
	b.onceInOrder("store", keys, each)
}

func repeated(t *testing.T, b *bench) {
	topo := b.prepare(shop(), store(bus.On(note)))
	publisher := b.host(Options{}, topo, []string{"shop"})
	publisher.publish(batch(5, 4)...)
	require.NoError(t, b.world.Repeat(t.Context(), "shop")) // in the same batch
	p := b.host(Options{}, topo, []string{"store"})
	b.becomes("20", `SELECT count(*) FROM store.effects`)
	require.NoError(t, b.world.Repeat(t.Context(), "shop")) // in a later batch
	publisher.publish(paid{Order: "last"})
	b.becomes("1", `SELECT count(*) FROM store.effects WHERE key = 'last'`)
	for k := range 5 { // and after each of the redelivered messages
		publisher.publish(paid{Order: "order-" + itoa(k), N: 4})
	}
	b.becomes("26", `SELECT count(*) FROM store.effects`)
	p.stop()
	b.becomes("26", `SELECT count(*) FROM store.effects`)
	require.Equal(t, "26", b.text(`SELECT count(DISTINCT message) FROM store.effects`))
}

func rollback(t *testing.T, b *bench) {
	p := b.start(Options{}, shop(), store(bus.On(note)))
	enough := errors.New("enough")
	err := p.DB("shop").InTx(t.Context(), func(tx *bus.Tx) error {
		if err := effect(t.Context(), tx, "gone", 1); err != nil {
			return err
		}
		if err := tx.Publish(paid{Order: "gone"}); err != nil {
			return err
		}
		return enough
	})
	require.ErrorIs(t, err, enough)
	require.Panics(t, func() {
		_ = p.DB("shop").InTx(t.Context(), func(tx *bus.Tx) error {
			_ = tx.Publish(paid{Order: "gone"})
			panic("in the middle")
		})
	})
	require.Error(t, p.DB("shop").InTx(t.Context(), func(tx *bus.Tx) error {
		_, _ = tx.ExecContext(t.Context(), `SELECT 1/0`) // swallowed
		return tx.Publish(paid{Order: "gone"})
	}))
	require.Error(t, p.DB("shop").InTx(t.Context(), func(tx *bus.Tx) error {
		_, _ = tx.ExecContext(t.Context(), `SELECT 1/0`) // swallowed, and nothing published
		return nil
	}))
	ended := make(chan struct{})
	for range 20 { // more than the pool has connections
		go func() {
			defer func() { ended <- struct{}{} }()
			_ = p.DB("shop").InTx(t.Context(), func(tx *bus.Tx) error { return goexit() })
		}()
	}
	for range 20 {
		await(t, "a transaction whose goroutine ends", ended)
	}
	p.publish(paid{Order: "kept"})
	b.becomes("kept", `SELECT key FROM store.effects`)
	require.Equal(t, "kept 1", b.text(`SELECT string_agg(key || ' ' || "offset", ',') FROM shop.log`), "offsets have no gaps")
	require.Equal(t, "0", b.text(`SELECT count(*) FROM shop.effects`))
}

func inboxAndEffect(t *testing.T, b *bench) {
	p := b.start(Options{Backoff: soon[:1]}, shop(), store(on(func(ctx context.Context, tx *bus.Tx, m paid) error {
		switch {
		case m.Order == "order-3" && m.N == 2:
			if err := note(ctx, tx, m); err != nil { // rolled back
				return err
			}
			return errs.New(errs.Invalid, "breaks a rule")
		case m.Order == "order-5" && m.N == 1:
			return errors.New("always")
		}
		return nil
	})))
	p.publish(batch(8, 5)...)
	b.becomes("33 7", `SELECT (SELECT count(*) FROM store.effects) || ' ' || (SELECT count(*) FROM store.parked_messages WHERE state IN ('dead', 'blocked'))`)
	require.Equal(t, "0", b.text(`SELECT count(*) FROM store.inbox i FULL JOIN store.effects e ON e.message = i.message_id WHERE e.message IS NULL OR i.message_id IS NULL`))
	require.Equal(t, "0", b.text(`SELECT count(*) FROM store.inbox JOIN store.parked_messages USING (message_id)`))
}

func noteNoted(ctx context.Context, tx *bus.Tx, n noted) error { return effect(ctx, tx, n.Order, n.N) }

func typeAddedLater(t *testing.T, b *bench) {
	older := b.start(Options{}, shop(), store(bus.On(note)))
	older.publish(noted{"order-1", 0}, noted{"order-2", 0}, paid{Order: "order-1"}, paid{Order: "order-2"})
	b.becomes("2", `SELECT count(*) FROM store.effects`)
	older.stop()
	p := b.start(Options{}, shop(), store(bus.On(note), bus.On(noteNoted)))
	p.publish(noted{"order-1", 1}, noted{"order-2", 1}, paid{Order: "order-1", N: 2}, paid{Order: "order-2", N: 2})
	b.becomes("order-1 0,1,2 order-2 0,1,2", `SELECT string_agg(key || ' ' || ns, ' ' ORDER BY key) FROM (SELECT key, string_agg(n::text, ',' ORDER BY at) AS ns FROM store.effects GROUP BY key) AS k`)
	b.nothingParked("store")
}

func typeOfNewerVersion(t *testing.T, b *bench) {
	older := b.start(Options{}, shop(), store(bus.On(note)))
	older.publish(batch(40, 1)...)
	b.becomes("40", `SELECT count(*) FROM store.effects`)
	newer := b.start(Options{}, shop(), store(bus.On(note), bus.On(noteNoted)))
	for k := range 40 { // the older process still has most of the partitions
		older.publish(noted{"order-" + itoa(k), 1})
		older.publish(paid{Order: "order-" + itoa(k), N: 2})
	}
	older.stop()
	b.becomes("120", `SELECT count(*) FROM store.effects`)
	b.onceInOrder("store", 40, 3)
	b.becomes("0", `SELECT count(*) FROM store.parked_messages`)
	newer.stop()
}

// typeOfVersionTakenBack rolls a release back for a while: only the older version
// runs, and no running process knows the type.
func typeOfVersionTakenBack(t *testing.T, b *bench) {
	newer := b.start(Options{}, shop(), store(bus.On(note), bus.On(noteNoted)))
	newer.publish(batch(10, 1)...)
	b.becomes("10", `SELECT count(*) FROM store.effects`)
	newer.stop()
	older := b.start(Options{}, shop(), store(bus.On(note)))
	for k := range 10 {
		older.publish(noted{"order-" + itoa(k), 1})
		older.publish(paid{Order: "order-" + itoa(k), N: 2})
	}
	older.publish(paid{Order: "order-10", N: 0}, paid{Order: "order-10", N: 1}, paid{Order: "order-10", N: 2})
	b.becomes("20 13", `SELECT (SELECT count(*) FROM store.parked_messages WHERE state IN ('blocked', 'awaiting_version')) || ' ' || (SELECT count(*) FROM store.effects)`)
	older.stop()
	newer = b.start(Options{}, shop(), store(bus.On(note), bus.On(noteNoted)))
	b.becomes("33", `SELECT count(*) FROM store.effects`)
	b.onceInOrder("store", 11, 3)
	b.becomes("0", `SELECT count(*) FROM store.parked_messages`)
	newer.stop()
}

func commandOnce(t *testing.T, b *bench) {
	handle := bus.Handle(func(ctx context.Context, tx *bus.Tx, c pack) error { return effect(ctx, tx, c.Order, c.N) })
	sender := part{name: "shop", sends: []bus.Command{pack{}}}
	topo := b.prepare(sender, store(handle))
	o := Options{KeepCommands: time.Millisecond, Poll: 100 * time.Millisecond}
	first := b.host(o, topo, topo.Modules())
	b.host(o, topo, topo.Modules())
	for n := range 10 {
		for k := range 20 {
			first.send(pack{"order-" + itoa(k), n})
		}
	}
	b.becomes("200", `SELECT count(*) FROM store.effects`)
	b.onceInOrder("store", 20, 10)
	// Each partition keeps its newest row, so that its offsets continue.
	b.becomes("0", `SELECT count(*) - count(DISTINCT partition) FROM store.queue`)
	first.send(pack{"order-0", 10})
	b.becomes("201", `SELECT count(*) FROM store.effects`)
}

func deadLetter(t *testing.T, b *bench) {
	var fixed sync.Map
	p := b.start(Options{Backoff: soon[:1]}, shop(), store(on(func(_ context.Context, _ *bus.Tx, m paid) error {
		if _, ok := fixed.Load(m.Order); !ok && m.Order == "order-2" && m.N == 1 {
			return errors.New("not mended yet")
		}
		return nil
	})))
	p.publish(batch(6, 4)...)
	b.becomes("21", `SELECT count(*) FROM store.effects`)
	b.becomes("dead,blocked,blocked", `SELECT string_agg(state, ',' ORDER BY "offset") FROM store.parked_messages`)
	letters, err := deadletter.List(t.Context(), b.sql, []string{"shop", "store"}, 1000)
	require.NoError(t, err)
	require.Len(t, letters, 1)
	require.Equal(t, 2, letters[0].Attempts)
	require.Equal(t, 2, letters[0].Behind)
	require.Equal(t, "not mended yet", letters[0].Error)

	// Retried too early, it uses up its attempts again and blocks its key as before.
	require.NoError(t, deadletter.Retry(t.Context(), b.sql, []string{"store"}, letters[0].ID))
	b.becomes("dead,blocked,blocked 2", `SELECT string_agg(state, ',' ORDER BY "offset") || ' ' || max(attempts) FROM store.parked_messages`)
	require.Equal(t, "21", b.text(`SELECT count(*) FROM store.effects`))

	fixed.Store("order-2", true)
	require.NoError(t, deadletter.Retry(t.Context(), b.sql, []string{"store"}, letters[0].ID))
	b.becomes("0", `SELECT count(*) FROM store.parked_messages`)
	b.onceInOrder("store", 6, 4)
	require.Equal(t, errs.NotFound, errs.KindOf(deadletter.Retry(t.Context(), b.sql, []string{"store"}, letters[0].ID)))
	p.publish(paid{Order: "order-2", N: 4}) // the key is free again
	b.becomes("5", `SELECT count(*) FROM store.effects WHERE key = 'order-2'`)
	b.nothingParked("store")
}

func discarded(t *testing.T, b *bench) {
	var fixed atomic.Bool
	p := b.start(Options{Backoff: soon[:1], Poll: 100 * time.Millisecond}, shop(), store(on(func(_ context.Context, _ *bus.Tx, m paid) error {
		if m.N == 0 && !fixed.Load() {
			return errs.New(errs.Invalid, "never")
		}
		return nil
	})))
	for n := range 40 { // more than one batch
		p.publish(paid{Order: "order-1", N: n})
	}
	b.becomes("40", `SELECT count(*) FROM store.parked_messages`)
	b.exec(`UPDATE store.parked_messages SET state = 'discarded' WHERE state = 'dead'`) // without a notification
	b.becomes("39", `SELECT count(*) FROM store.effects`)
	require.Equal(t, "true", b.text(`SELECT bool_and(n = at) FROM (SELECT n, row_number() OVER (ORDER BY at) AS at FROM store.effects) AS e`))
	require.Equal(t, "discarded", b.text(`SELECT string_agg(state, ',') FROM store.parked_messages`))

	fixed.Store(true)
	require.NoError(t, b.world.Repeat(t.Context(), "shop"))
	p.publish(paid{Order: "order-1", N: 40}) // after the copies
	b.becomes("40", `SELECT max(n) FROM store.effects`)
	require.Equal(t, "40", b.text(`SELECT count(*) FROM store.effects`), "what was discarded took effect when it arrived again")
}

func largeAndOdd(t *testing.T, b *bench) {
	p := b.start(Options{}, shop(), store(bus.On(note), bus.On(noteNoted)))
	odd := []string{
		"a", " ", "주문-17", "a  b\"c\\d", `quo"te's\`, "{}", "NULL", "%s$1;--", "\u202eright", "😀", strings.Repeat("k", bus.MaxKey), "-", "{a,b}", "é", "e\u0301",
	}
	for _, key := range odd {
		p.publish(paid{Order: key}, noted{Order: key, N: 1})
	}
	big := paid{Order: "big", Pad: strings.Repeat("x", bus.MaxPayload-len(`{"order":"big","n":0,"pad":""}`))}
	for n := range 20 { // 5 MiB in one transaction
		big.N = n % 10
		p.publish(big)
	}
	b.becomes(itoa(2*len(odd)+20), `SELECT count(*) FROM store.effects`)
	for _, key := range odd {
		require.Equal(t, "0,1", b.text(`SELECT string_agg(n::text, ',' ORDER BY at) FROM store.effects WHERE key = $1`, key), "key %q", key)
	}
	b.nothingParked("store")
}

type empty struct{ key string }

func (empty) EventName() string { return "shop.paid" }
func (e empty) Key() string     { return e.key }

func refused(t *testing.T, b *bench) {
	p := b.start(Options{}, shop(), store(bus.On(note)))
	err := p.DB("shop").InTx(t.Context(), func(tx *bus.Tx) error {
		tooLarge := paid{Order: "big", Pad: strings.Repeat("x", 1+bus.MaxPayload-len(`{"order":"big","n":0,"pad":""}`))}
		require.Equal(t, errs.TooLarge, errs.KindOf(tx.Publish(tooLarge)))
		for _, key := range []string{"", strings.Repeat("k", bus.MaxKey+1), "a\x00b", "\xff"} {
			require.Equal(t, errs.Invalid, errs.KindOf(tx.Publish(paid{Order: key})), "key %q", key)
		}
		require.Equal(t, errs.Invalid, errs.KindOf(tx.Publish(packed{Order: "x"})), "not declared")
		require.Equal(t, errs.Invalid, errs.KindOf(tx.Send(pack{Order: "x"})), "not declared")
		return tx.Publish(empty{"empty"}) // a refused message does not break the transaction
	})
	require.NoError(t, err)
	b.becomes("1", `SELECT count(*) FROM store.effects`)
	require.Equal(t, "1", b.text(`SELECT count(*) FROM shop.log`))
}
