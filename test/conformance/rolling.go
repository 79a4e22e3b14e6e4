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

// gifted is the event shop.paid as the newer version publishes it: with a field
// that the older version does not know.
type gifted struct {
	Order string `json:"order"`
	N     int    `json:"n"`
	Gift  string `json:"gift"`
}

func (gifted) EventName() string { return "shop.paid" }
func (g gifted) Key() string     { return g.Order }

// rolling has two processes that host shop and two that host store. They are
// replaced one at a time while a client continues to publish.
type rolling struct {
	*bench
	older, newer *bus.Topology
	shops        [2]*process
	stores       [2]*process
	load         *load
}

// load publishes one event for each key in every round, in one transaction; the
// processes of shop take turns. It pauses while more than five rounds are not
// handled yet, so that a slow machine has no larger backlog than a fast one.
type load struct {
	sql      *sql.DB
	mu       sync.Mutex
	shops    []shopProcess
	noting   bool // some rounds publish noted, if the process knows it
	rounds   int
	failed   error // why the last failed round failed
	failures int
	end      chan struct{}
	over     chan struct{}
}

// shopProcess is a process that hosts shop, and its version.
type shopProcess struct {
	db    *bus.DB
	newer bool
}

// rollingKeys is large enough that each process of store handles some keys.
const rollingKeys = 24

// missing counts the published messages that store subscribes to and has not handled yet.
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

// fails records why a round did not happen.
func (l *load) fails(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = err
}

// round publishes one round. It holds the lock until the commit, so that the
// process is not stopped before. If it fails, as it may when a connection is lost,
// the next round uses other numbers: whether it committed is read from the log.
func (l *load) round() {
	l.mu.Lock()
	defer l.mu.Unlock()
	shop := l.shops[l.rounds%len(l.shops)]
	noting := shop.newer && l.noting && l.rounds%3 != 0 // rounds%3 alternates between both processes
	err := shop.db.InTx(context.Background(), func(tx *bus.Tx) error {
		for k := range rollingKeys {
			var e bus.Event = paid{Order: "order-" + itoa(k), N: l.rounds}
			switch {
			case noting:
				e = noted{"order-" + itoa(k), l.rounds}
			case shop.newer:
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

// succeeded returns how many rounds committed, and why the last failed one failed.
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

// goesOn waits until that many more rounds have committed.
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

func (r *rolling) topology(newer bool) *bus.Topology {
	if newer {
		return r.newer
	}
	return r.older
}

// shopBecomes replaces one process of shop by the older or newer version. The other one publishes meanwhile.
func (r *rolling) shopBecomes(n int, newer bool) {
	r.t.Helper()
	r.load.mu.Lock()
	other := r.load.shops[1-n]
	r.load.shops = []shopProcess{other}
	r.load.mu.Unlock()
	r.shops[n].stop()
	r.goesOn(3)
	r.shops[n] = r.host(Options{}, r.topology(newer), []string{"shop"})
	both := []shopProcess{other, other}
	both[n] = shopProcess{r.shops[n].DB("shop"), newer}
	r.load.mu.Lock()
	r.load.shops = both
	r.load.mu.Unlock()
	r.goesOn(5)
}

// storeBecomes replaces one process of store by the older or newer version. The other one handles messages meanwhile.
func (r *rolling) storeBecomes(n int, newer bool) {
	r.t.Helper()
	r.stores[n].stop()
	r.goesOn(3)
	r.stores[n] = r.host(Options{}, r.topology(newer), []string{"store"})
	r.becomes("32,32", `SELECT string_agg(n::text, ',') FROM (SELECT count(*) AS n FROM `+eventOffsets+` GROUP BY node) AS owners`)
	r.goesOn(5)
}

// publishUnsubscribed publishes, from the newer shop, an event whose type has no
// subscriber yet. It retries after an error: on a slow machine the lease may
// expire, and the other process ends the transaction.
func (r *rolling) publishUnsubscribed() {
	r.t.Helper()
	publish := func() error {
		return r.shops[0].DB("shop").InTx(context.Background(), func(tx *bus.Tx) error {
			return errors.Join(tx.Publish(noted{"unheard", 0}), tx.Publish(gifted{"unheard", 1, "ribbon"}))
		})
	}
	deadline := time.Now().Add(patience)
	for err := publish(); err != nil; err = publish() {
		require.True(r.t, time.Now().Before(deadline), "%v", err)
	}
}

// rollingRestart upgrades all processes under load and then downgrades them. The
// newer version publishes a field and an event type that the older one does not
// know. Publishers are replaced first, both times. A subscription starts when the
// first process with it starts: events of the new type from before have no
// subscriber and become no dead letters. Events published after that wait, in
// order, for a process of the newer version.
func rollingRestart(t *testing.T, b *bench) {
	r := &rolling{bench: b}
	r.newer = r.prepare(shop(), store(
		bus.On(func(ctx context.Context, tx *bus.Tx, g gifted) error { return effect(ctx, tx, g.Order, g.N) }), bus.On(noteNoted)))
	var err error
	r.older, err = bus.NewTopology(part{name: "shop", publishes: []bus.Event{paid{}}}, store(bus.On(note)))
	require.NoError(t, err)
	for n := range 2 {
		r.shops[n] = r.host(Options{}, r.older, []string{"shop"})
		r.stores[n] = r.host(Options{}, r.older, []string{"store"})
	}
	r.load = &load{sql: b.sql, end: make(chan struct{}), over: make(chan struct{}),
		shops: []shopProcess{{r.shops[0].DB("shop"), false}, {r.shops[1].DB("shop"), false}}}
	go r.load.run()
	end := sync.OnceFunc(func() { close(r.load.end); <-r.load.over })
	t.Cleanup(end) // cleanups run in reverse order: the load ends before the processes
	r.goesOn(5)

	r.shopBecomes(0, true)
	r.publishUnsubscribed()
	r.becomes("shop.paid", `SELECT string_agg(DISTINCT type, ',') FROM store.effects WHERE key = 'unheard'`)
	r.becomes("true", `SELECT count(*) >= 20 FROM store.effects e JOIN shop.log l ON l.id = e.message WHERE convert_from(l.payload, 'UTF8')::json->>'gift' = 'ribbon'`)
	r.neverParked()

	r.storeBecomes(0, true)
	r.load.set(true)
	r.becomes("true", `SELECT is_called FROM store.parked_messages_id_seq`) // the older process has parked an event whose type it does not know
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
	r.becomes("0", `SELECT count(*) FROM store.parked_messages`)
}
