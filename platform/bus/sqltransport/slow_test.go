package sqltransport_test

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
	"millrace/platform/bus/sqltransport"
)

// A handler that shares its transaction with those of other partitions takes
// long: they are done without it, though there is only one worker. It takes
// until they are done, or its time is over. The machine may be so busy that they
// are done only then: it is tried a few times.
func TestBatch_SlowHandlerDelaysNoOtherPartition(t *testing.T) {
	t.Parallel()
	const partitions, gated = 6, -1
	type round struct {
		others       chan struct{}
		done, waited atomic.Int64
	}
	var rounds [5]round
	for i := range rounds {
		rounds[i].others = make(chan struct{})
	}
	gate := make(chan struct{})
	r := start(t, fresh(t), sqltransport.Config{Workers: 1, Logger: slog.New(slog.DiscardHandler)},
		part{name: "shop", publishes: []bus.Event{paid{}}},
		part{name: "store", subscribes: []bus.Subscription{bus.On(func(_ context.Context, tx *bus.Tx, p paid) error {
			if p.N == gated { // holds the only worker until all partitions are loaded
				<-gate
				return nil
			}
			now := &rounds[p.N/partitions]
			if p.N%partitions == 0 {
				select {
				case <-now.others:
				case <-time.After(4 * time.Second):
					now.waited.Add(1)
				}
				return nil
			}
			tx.AfterCommit(func() {
				if now.done.Add(1) == partitions-1 {
					close(now.others)
				}
			})
			return nil
		})}})
	db := r.transport.DB("shop")
	publish := func(n func(p int) int) {
		require.NoError(t, db.InTx(t.Context(), func(tx *bus.Tx) error {
			for p := range partitions {
				if err := tx.Publish(paid{keysOf(p, 1)[0], n(p)}); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	store := r.transport.DB("store")
	handled := func(want int) {
		t.Helper()
		require.Eventually(t, func() bool {
			var handled int
			require.NoError(t, store.QueryRowContext(t.Context(), `SELECT count(*) FROM inbox`).Scan(&handled))
			return handled == want
		}, time.Minute, 10*time.Millisecond)
	}
	publish(func(int) int { return gated })
	close(gate)
	handled(partitions)
	for i := range rounds {
		publish(func(p int) int { return i*partitions + p })
		waitFor(t, "the other partitions", rounds[i].others)
		if rounds[i].waited.Load() == 0 {
			return
		}
		handled((i + 2) * partitions)
	}
	require.Fail(t, "the other partitions waited for the slow handler, each time")
}
