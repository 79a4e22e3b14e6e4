package conformance

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
)

// gifted is paid as a newer version says it: with a field that is unknown to
// the version before.
type gifted struct {
	Order string `json:"order"`
	N     int    `json:"n"`
	Gift  string `json:"gift"`
}

func (gifted) EventName() string { return "shop.paid" }
func (g gifted) Key() string     { return g.Order }

// rolling is a shop of two processes and a store of two, each process hosting
// one module only, which are replaced while a client goes on buying.
type rolling struct {
	*bench
	old, young *bus.Topology
	shops      [2]*process
	stores     [2]*process
	load       *load
}

// load buys: each round the next number for every key, in one transaction of
// the shop's process whose turn it is. It waits while much is not handled yet, so
// that a slow machine has the same work in flight as a fast one.
type load struct {
	sql      *sql.DB
	mu       sync.Mutex
	shops    []saying
	noting   bool // some rounds say noted, if the process knows it
	rounds   int
	failed   error // of the last round that failed
	failures int
	end      chan struct{}
	over     chan struct{}
}

// saying is a process of the shop, and which version it is.
type saying struct {
	db    *bus.DB
	young bool
}

// rollingKeys are so many that each process of the store has some.
const rollingKeys = 24

// missing counts what was said and somebody hears, and was not handled yet.
const missing = `SELECT count(*) FROM shop.log l WHERE NOT EXISTS (SELECT FROM store.effects e WHERE e.message = l.id) AND NOT (l.key = 'unheard' AND l.type = 'shop.noted')`

func (l *load) run() {
	defer close(l.over)
	tick := time.NewTicker(80 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-l.end:
			return
		case <-tick.C:
		}
		var waiting int
		err := l.sql.QueryRowContext(context.Background(), `SELECT (SELECT count(*) FROM shop.log) - (SELECT count(*) FROM store.effects)`).Scan(&waiting)
		switch {
		case err != nil:
			l.fails(err)
		case waiting > 5*rollingKeys:
			l.fails(fmt.Errorf("%d messages are not handled yet", waiting))
		default:
			l.round()
		}
	}
}

// fails notes why there is no round.
func (l *load) fails(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = err
}

// round holds the lock until its commit: nobody stops its process meanwhile. If
// it fails, as it may when a connection is lost, the next one says other things:
// what is in the log was said.
func (l *load) round() {
	l.mu.Lock()
	defer l.mu.Unlock()
	shop := l.shops[l.rounds%len(l.shops)]
	noting := shop.young && l.noting && l.rounds%3 != 0 // either process has a turn in such a round
	err := shop.db.InTx(context.Background(), func(tx *bus.Tx) error {
		for k := range rollingKeys {
			var e bus.Event = paid{Order: "order-" + itoa(k), N: l.rounds}
			switch {
			case noting:
				e = noted{"order-" + itoa(k), l.rounds}
			case shop.young:
				e = gifted{"order-" + itoa(k), l.rounds, "ribbon"}
			}
			if err := tx.Publish(e); err != nil {
				return err
			}
		}
		return nil
	})
	l.rounds++
	if err != nil {
		l.failed, l.failures = err, l.failures+1
	}
}

// succeeded answers how many rounds did, and why the last one that did not.
func (l *load) succeeded() (rounds int, failed error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rounds - l.failures, l.failed
}

func (l *load) set(noting bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.noting = noting
}

// goesOn waits for some more rounds.
func (r *rolling) goesOn(more int) {
	r.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	since, _ := r.load.succeeded()
	for deadline := time.Now().Add(patience); ; <-tick.C {
		now, failed := r.load.succeeded()
		if now >= since+more {
			return
		}
		require.True(r.t, time.Now().Before(deadline), "the client does not get on: %v", failed)
	}
}

func (r *rolling) topology(young bool) *bus.Topology {
	if young {
		return r.young
	}
	return r.old
}

// shopBecomes replaces a process of the shop; the other one sells meanwhile.
func (r *rolling) shopBecomes(n int, young bool) {
	r.t.Helper()
	r.load.mu.Lock()
	other := r.load.shops[1-n]
	r.load.shops = []saying{other}
	r.load.mu.Unlock()
	r.shops[n].stop()
	r.goesOn(3)
	r.shops[n] = r.host(Options{}, r.topology(young), []string{"shop"})
	both := []saying{other, other}
	both[n] = saying{r.shops[n].DB("shop"), young}
	r.load.mu.Lock()
	r.load.shops = both
	r.load.mu.Unlock()
	r.goesOn(5)
}

// storeBecomes replaces a process of the store; the other one hears meanwhile.
func (r *rolling) storeBecomes(n int, young bool) {
	r.t.Helper()
	r.stores[n].stop()
	r.goesOn(3)
	r.stores[n] = r.host(Options{}, r.topology(young), []string{"store"})
	r.becomes("32,32", `SELECT string_agg(n::text, ',') FROM (SELECT count(*) AS n FROM `+hearing+` GROUP BY owner) AS owners`)
	r.goesOn(5)
}

// sayUnheard has the new shop say the type that nobody hears yet. Whoever gets an
// error says it again: a slow process may be taken for dead, and its transaction ended.
func (r *rolling) sayUnheard() {
	r.t.Helper()
	say := func() error {
		return r.shops[0].DB("shop").InTx(context.Background(), func(tx *bus.Tx) error {
			return errors.Join(tx.Publish(noted{"unheard", 0}), tx.Publish(gifted{"unheard", 1, "ribbon"}))
		})
	}
	deadline := time.Now().Add(patience)
	for err := say(); err != nil; err = say() {
		require.True(r.t, time.Now().Before(deadline), "%v", err)
	}
}

// rollingRestart is a release under load, and one that is taken back. The new
// version says a field and a type that the one before does not know. Who
// publishes goes first, both times: a type is heard from when somebody hears it
// on, so what is said of it before is nobody's, and no dead letter; what is
// said once one process hears it waits for that one, and in its place.
func rollingRestart(t *testing.T, b *bench) {
	r := &rolling{bench: b}
	r.young = r.prepare(shop(), store(
		bus.On(func(ctx context.Context, tx *bus.Tx, g gifted) error { return effect(ctx, tx, g.Order, g.N) }), bus.On(noteNoted)))
	var err error
	r.old, err = bus.NewTopology(part{name: "shop", publishes: []bus.Event{paid{}}}, store(bus.On(note)))
	require.NoError(t, err)
	for n := range 2 {
		r.shops[n] = r.host(Options{}, r.old, []string{"shop"})
		r.stores[n] = r.host(Options{}, r.old, []string{"store"})
	}
	r.load = &load{sql: b.sql, end: make(chan struct{}), over: make(chan struct{}),
		shops: []saying{{r.shops[0].DB("shop"), false}, {r.shops[1].DB("shop"), false}}}
	go r.load.run()
	end := sync.OnceFunc(func() { close(r.load.end); <-r.load.over })
	t.Cleanup(end) // before the processes are stopped
	r.goesOn(5)

	r.shopBecomes(0, true)
	r.sayUnheard()
	r.becomes("shop.paid", `SELECT string_agg(DISTINCT type, ',') FROM store.effects WHERE key = 'unheard'`)
	r.becomes("true", `SELECT count(*) >= 20 FROM store.effects e JOIN shop.log l ON l.id = e.message WHERE convert_from(l.payload, 'UTF8')::json->>'gift' = 'ribbon'`)
	r.neverAside()

	r.storeBecomes(0, true)
	r.load.set(true)
	r.becomes("true", `SELECT is_called FROM store.aside_id_seq`) // the old process holds what it does not know
	r.storeBecomes(1, true)
	r.shopBecomes(1, true)

	r.load.set(false)
	r.shopBecomes(0, false)
	r.shopBecomes(1, false)
	r.becomes("0", missing+` AND l.type = 'shop.noted'`)
	r.storeBecomes(0, false)
	r.storeBecomes(1, false)

	end()
	r.becomes("0", missing)
	require.Equal(t, "0", b.text(`SELECT count(*) - count(DISTINCT message) FROM store.effects`), "doubled")
	require.Equal(t, "0", b.text(`SELECT count(*) FROM (SELECT n - lag(n) OVER (PARTITION BY key ORDER BY at) AS step FROM store.effects) AS s WHERE step <= 0`), "order per key")
	succeeded, _ := r.load.succeeded()
	require.Equal(t, "true", b.text(`SELECT count(*) >= $1 FROM store.effects`, succeeded*rollingKeys), "accepted, and not in the log")
	r.becomes("0", `SELECT count(*) FROM store.aside`)
}
