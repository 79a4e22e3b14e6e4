package conformance

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"millrace/platform/bus"
	"millrace/platform/bus/deadletter"
	"millrace/platform/errs"
)

func lateSubscriber(t *testing.T, b *bench) {
	p := b.start(Options{}, shop(), store(bus.On(note)))
	p.publish(batch(10, 30)...)
	late := part{name: "late", subscribes: []bus.Subscription{bus.On(note)}}
	topo := b.prepare(shop(), store(bus.On(note)), late)
	b.host(Options{}, topo, []string{"late"})
	b.becomes("300", `SELECT count(*) FROM late.effects`)
	b.onceInOrder("late", 10, 30)
}

// releaseRaces runs publishers and operators on the same keys concurrently. Every
// fifth message fails until an operator retries it; every tenth is discarded instead.
func releaseRaces(t *testing.T, b *bench) {
	const keys, each, operators = 8, 40, 3
	var fixed sync.Map
	p := b.start(Options{Backoff: soon[:1]}, shop(), store(on(func(_ context.Context, _ *bus.Tx, m paid) error {
		if _, ok := fixed.Load(m); m.N%5 == 0 && !ok {
			return errors.New("not mended yet")
		}
		return nil
	})))
	var writers, all errgroup.Group
	for w := range 4 { // one writer for each key, so that its order is known
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
		return b.text(`SELECT (SELECT count(*) FROM store.effects) + (SELECT count(*) FROM store.parked_messages WHERE state = 'discarded')`)
	}
	decide := func() error {
		letters, err := deadletter.List(context.Background(), b.sql, []string{"shop", "store"}, 1000)
		if err != nil {
			return err
		}
		for _, l := range letters {
			n := b.text(`SELECT convert_from(payload, 'UTF8')::json->>'n' FROM shop.log WHERE id = $1`, l.MessageID)
			if len(n) > 0 && n[len(n)-1] == '0' {
				err = deadletter.Discard(context.Background(), b.sql, []string{"store"}, l.ID, "suite", "every tenth")
			} else {
				fixed.Store(paid{Order: l.Key, N: atoi(n)}, true)
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
					return errors.New("not everything was handled or discarded: " + b.parkedList())
				}
			}
			return nil
		})
	}
	require.NoError(t, writers.Wait())
	require.NoError(t, all.Wait())
	p.stop()
	require.Equal(t, "discarded "+itoa(keys*each/10), b.text(`SELECT string_agg(state || ' ' || n, ',') FROM (SELECT state, count(*) AS n FROM store.parked_messages GROUP BY state) AS s`))
	require.Equal(t, itoa(keys*each*9/10), b.text(`SELECT count(DISTINCT message) FROM store.effects`))
	require.Equal(t, "0", b.text(`SELECT count(*) FROM (SELECT n - lag(n, 1, 0) OVER (PARTITION BY key ORDER BY at) AS step, n FROM store.effects) AS s
		WHERE step <> CASE WHEN n % 10 = 1 AND n > 1 THEN 2 ELSE 1 END`), "order per key, without gaps but for the discarded")
}
