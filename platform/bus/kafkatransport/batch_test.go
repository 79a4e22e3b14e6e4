package kafkatransport

import (
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/platform/bus/kafkatransport/fakebroker"
)

// produced counts the calls of the broker that write.
func produced(b *fakebroker.Broker) *atomic.Int32 {
	var requests atomic.Int32
	b.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		b.KeepControl()
		requests.Add(1)
		return nil, nil, false
	})
	return &requests
}

// What the stock publisher makes a call of each.
func TestManyRowsTakeFewCallsOfTheBroker(t *testing.T) {
	t.Parallel()
	const rows = 500
	b := fake(t)
	cfg := configFor(b)
	f := made(t, cfg, "shop.events")
	requests := produced(b)
	confirmed, err := f.Forward(t.Context(), rowsOf("order-1", 1, rows))
	require.NoError(t, err)
	require.Equal(t, rows, confirmed)
	require.Positive(t, requests.Load())
	require.LessOrEqual(t, requests.Load(), int32(rows/10), "they go in batches")
}
