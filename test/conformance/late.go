package conformance

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"millrace/platform/bus"
	"millrace/platform/bus/deadletter"
	"millrace/platform/errs"
)

// said publishes the numbers from first on, each to so many keys.
func (p *process) said(keys, first, each int) {
	p.t.Helper()
	for n := first; n < first+each; n++ {
		for k := range keys {
			p.publish(paid{Order: "order-" + itoa(k), N: n})
		}
	}
}

// heard waits until the late subscriber has so many effects, and checks that
// they are each key's numbers from first on, in order.
func (b *bench) heard(keys, first, each int) {
	b.t.Helper()
	var numbers []string
	for n := first; n < first+each; n++ {
		numbers = append(numbers, itoa(n))
	}
	var want []string
	for k := range keys {
		want = append(want, "order-"+itoa(k)+" "+strings.Join(numbers, ","))
	}
	slices.Sort(want)
	b.becomes(strings.Join(want, "; "), `SELECT string_agg(key || ' ' || ns, '; ' ORDER BY key COLLATE "C") FROM (SELECT key, string_agg(n::text, ',' ORDER BY at) AS ns FROM late.effects GROUP BY key) AS k`)
}

func lateSubscriber(t *testing.T, b *bench) {
	p := b.start(Options{}, shop(), store(bus.On(note)))
	p.publish(batch(10, 30)...)
	late := part{name: "late", hears: []bus.Subscription{bus.On(note)}}
	topo := b.prepare(shop(), store(bus.On(note)), late)
	b.host(Options{}, topo, []string{"late"})
	b.becomes("300", `SELECT count(*) FROM late.effects`)
	b.onceInOrder("late", 10, 30)
}

// late is a subscriber that begins somewhere.
func (b *bench) late(from time.Time) *process {
	b.t.Helper()
	topo := b.prepare(shop(), part{name: "late", hears: []bus.Subscription{bus.On(note).From(from), bus.On(noteNoted).From(from)}})
	return b.host(Options{}, topo, []string{"late"})
}

func lateFromATime(t *testing.T, b *bench) {
	p := b.start(Options{}, shop())
	p.said(12, 0, 4)
	var at time.Time
	require.NoError(t, b.sql.QueryRowContext(t.Context(), `SELECT clock_timestamp()`).Scan(&at))
	p.said(12, 4, 4)
	late := b.late(at)
	b.heard(12, 4, 4)
	late.stop()
	p.said(12, 8, 2)
	b.late(at.Add(-time.Hour)) // it has a position: this changes nothing
	b.heard(12, 4, 6)
	b.everywhere(p)
}

// everywhere says something to every partition, which the late subscriber hears.
func (b *bench) everywhere(p *process) {
	b.t.Helper()
	for k := range 200 {
		p.publish(noted{Order: "flush-" + itoa(k)})
	}
	b.becomes("200", `SELECT count(*) FROM late.effects WHERE type = 'shop.noted'`)
	require.Equal(b.t, "0", b.text(`SELECT count(*) FROM late.aside`))
}

func lateFromNow(t *testing.T, b *bench) {
	p := b.start(Options{LeaseTTL: time.Minute}, shop()) // nobody ends what it is saying
	p.said(12, 0, 4)
	// What is being said, and commits after the subscriber is there, is heard
	// whole, though it began before.
	inside, goOn, done := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		done <- p.DB("shop").InTx(context.Background(), func(tx *bus.Tx) error {
			if _, err := tx.ExecContext(context.Background(), `SET LOCAL idle_in_transaction_session_timeout = 0`); err != nil {
				return err
			}
			close(inside)
			<-goOn
			for k := range 12 {
				if err := tx.Publish(paid{Order: "order-" + itoa(k), N: 4}); err != nil {
					return err
				}
			}
			return nil
		})
	}()
	await(t, "the transaction to begin", inside)
	late := b.late(bus.Now)
	close(goOn)
	require.NoError(t, await(t, "the transaction", done))
	p.said(12, 5, 3)
	b.heard(12, 4, 4)
	late.stop()
	p.said(12, 8, 2) // it has a position: what is said while it is away waits for it
	b.late(bus.Now)
	b.heard(12, 4, 6)
	b.everywhere(p)
}

// releaseRaces has writers and operators work on the same keys. Every fifth
// message fails until it is mended; every tenth is discarded instead.
func releaseRaces(t *testing.T, b *bench) {
	const keys, each, operators = 8, 40, 3
	var mended sync.Map
	p := b.start(Options{Backoff: soon[:1]}, shop(), store(on(func(_ context.Context, _ *bus.Tx, m paid) error {
		if _, ok := mended.Load(m); m.N%5 == 0 && !ok {
			return errors.New("not mended yet")
		}
		return nil
	})))
	var writers, all errgroup.Group
	for w := range 4 { // each key is said by one writer, in order
		writers.Go(func() error {
			for n := range each {
				for k := w; k < keys; k += 4 {
					err := p.DB("shop").InTx(context.Background(), func(tx *bus.Tx) error { return tx.Publish(paid{Order: "order-" + itoa(k), N: n}) })
					if err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	handled := func() string {
		return b.text(`SELECT (SELECT count(*) FROM store.effects) + (SELECT count(*) FROM store.aside WHERE state = 'discarded')`)
	}
	decide := func() error {
		letters, err := deadletter.List(context.Background(), b.sql, []string{"shop", "store"})
		if err != nil {
			return err
		}
		for _, l := range letters {
			n := b.text(`SELECT convert_from(payload, 'UTF8')::json->>'n' FROM shop.log WHERE id = $1`, l.MessageID)
			if len(n) > 0 && n[len(n)-1] == '0' {
				err = deadletter.Discard(context.Background(), b.sql, []string{"store"}, l.ID, "suite", "every tenth")
			} else {
				mended.Store(paid{Order: l.Key, N: atoi(n)}, true)
				err = deadletter.Retry(context.Background(), b.sql, []string{"store"}, l.ID)
			}
			if kind := errs.KindOf(err); err != nil && kind != errs.Conflict && kind != errs.NotFound { // another operator was faster
				return err
			}
		}
		return nil
	}
	for range operators {
		all.Go(func() error {
			for deadline := time.Now().Add(patience); handled() != itoa(keys*each); {
				if err := decide(); err != nil {
					return err
				}
				if time.Now().After(deadline) {
					return errors.New("not everything was handled or discarded: " + b.asides())
				}
			}
			return nil
		})
	}
	require.NoError(t, writers.Wait())
	require.NoError(t, all.Wait())
	p.stop()
	require.Equal(t, "discarded "+itoa(keys*each/10), b.text(`SELECT string_agg(state || ' ' || n, ',') FROM (SELECT state, count(*) AS n FROM store.aside GROUP BY state) AS s`))
	require.Equal(t, itoa(keys*each*9/10), b.text(`SELECT count(DISTINCT message) FROM store.effects`))
	require.Equal(t, "0", b.text(`SELECT count(*) FROM (SELECT n - lag(n, 1, 0) OVER (PARTITION BY key ORDER BY at) AS step, n FROM store.effects) AS s
		WHERE step <> CASE WHEN n % 10 = 1 AND n > 1 THEN 2 ELSE 1 END`), "order per key, without gaps but for the discarded")
}
