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
	"millrace/platform/postgres/pgtest"
)

// A handler that shares its transaction with those of other partitions takes
// long: they are done without it, though there is only one executor. It takes
// until they are done, or its time is over.
func TestASlowHandlerDoesNotHoldThePartitionsOfItsRun(t *testing.T) {
	t.Parallel()
	const partitions = 6
	others, gate := make(chan struct{}), make(chan struct{})
	var done, waited atomic.Int64
	r := start(t, pgtest.URL(t), sqltransport.Config{Executors: 1, Logger: slog.New(slog.DiscardHandler)},
		part{name: "shop", publishes: []bus.Event{paid{}}},
		part{name: "store", hears: []bus.Subscription{bus.On(func(_ context.Context, tx *bus.Tx, p paid) error {
			switch p.N {
			case 99: // holds the only executor until all partitions are loaded
				<-gate
			case 0:
				select {
				case <-others:
				case <-time.After(4 * time.Second):
					waited.Add(1)
				}
			default:
				tx.AfterCommit(func() {
					if done.Add(1) == partitions-1 {
						close(others)
					}
				})
			}
			return nil
		})}})
	db := r.transport.DB("shop")
	say := func(n func(p int) int) {
		require.NoError(t, db.InTx(t.Context(), func(tx *bus.Tx) error {
			for p := range partitions {
				if err := tx.Publish(paid{keysOf(p, 1)[0], n(p)}); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	say(func(int) int { return 99 })
	close(gate)
	store := r.transport.DB("store")
	require.Eventually(t, func() bool {
		var handled int
		require.NoError(t, store.QueryRowContext(t.Context(), `SELECT count(*) FROM inbox`).Scan(&handled))
		return handled == partitions
	}, 60*time.Second, 10*time.Millisecond)
	say(func(p int) int { return p })
	select {
	case <-others:
	case <-time.After(60 * time.Second):
		require.FailNow(t, "the other partitions were never done")
	}
	require.Zero(t, waited.Load(), "the other partitions waited for the slow handler")
}
