package sqltransport_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"millrace/platform/bus"
	"millrace/platform/bus/sqltransport"
)

// It does not run beside others: it looks at all goroutines there are.
func TestTransport_LeavesNoGoroutine(t *testing.T) { //nolint:paralleltest // see above
	url := fresh(t)
	before := goleak.IgnoreCurrent()
	t.Run("process", func(t *testing.T) {
		handled := make(chan int, 10)
		r := start(t, url, sqltransport.Config{Backoff: []time.Duration{time.Hour}},
			part{name: "shop", publishes: []bus.Event{paid{}}},
			part{name: "store", subscribes: []bus.Subscription{bus.On(func(_ context.Context, _ *bus.Tx, p paid) error {
				if p.N == 1 {
					return errors.New("fails")
				}
				handled <- p.N
				return nil
			})}})
		require.NoError(t, r.transport.DB("shop").InTx(t.Context(), func(tx *bus.Tx) error {
			return errors.Join(tx.Publish(paid{"x", 1}), tx.Publish(paid{"y", 2}))
		}))
		require.Equal(t, 2, waitFor(t, "the message", handled))
	})
	deadline := time.Now().Add(time.Minute)
	leaked := goleak.Find(before)
	for leaked != nil && time.Now().Before(deadline) { // Find waits for half a second, a busy machine may take longer
		leaked = goleak.Find(before)
	}
	require.NoError(t, leaked)
}
