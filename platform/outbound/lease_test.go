package outbound

import (
	"context"
	"database/sql"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
	"millrace/platform/postgres"
)

// Requests use every connection of the module while a result waits to be
// recorded, for longer than the lease. Another process must not repeat the
// call.
func TestQueue_KeepsLeaseWhileNoConnectionIsFree(t *testing.T) {
	t.Parallel()
	h := setup(t)
	const conns = 3
	topology, err := bus.NewTopology(post{})
	require.NoError(t, err)
	pool := func(n int) *sql.DB {
		db, err := postgres.Open(t.Context(), postgres.Config{URL: h.url, Schema: "post", MaxConns: n})
		require.NoError(t, err)
		t.Cleanup(func() { _ = db.Close() })
		return db
	}
	crowded := pool(conns)
	var calls atomic.Int32
	called, answered := make(chan struct{}, 9), make(chan struct{})
	process := func(db *bus.DB) *Queue[letter, string] {
		q := New(db, Config[letter, string]{Name: "letter", OnComplete: effect, Workers: 1,
			Do: func(context.Context, Call[letter]) (string, error) {
				calls.Add(1)
				called <- struct{}{}
				<-answered
				return "250 ok", nil
			}})
		q.lease, q.poll = time.Second, 20*time.Millisecond
		return q
	}
	q := process(bus.NewDB(crowded, "post", topology, published{}).WithReserved(pool(1)))
	h.start(q)
	id := h.record(q, "goods-1")
	within(t, called)
	var taken []*sql.Conn
	for range conns {
		conn, err := crowded.Conn(t.Context())
		require.NoError(t, err)
		taken = append(taken, conn)
	}
	free := sync.OnceFunc(func() {
		for _, conn := range taken {
			_ = conn.Close() // returns to the pool
		}
	})
	t.Cleanup(free) // runs before the queues end
	close(answered)
	held := func() bool {
		return h.text(`SELECT next_at > clock_timestamp() FROM outbound_calls WHERE id = $1`, id) == "true"
	}
	require.Eventually(t, held, patient, 5*time.Millisecond, "the lease is not renewed")
	h.start(process(h.db))
	until := time.Now().Add(3 * q.lease)
	require.Eventually(t, func() bool { return time.Now().After(until) || calls.Load() > 1 }, patient, 5*time.Millisecond)
	require.EqualValues(t, 1, calls.Load(), "the call was made again")
	free()
	h.waitForState(id, "succeeded")
	require.EqualValues(t, 1, calls.Load(), "the call was made again")
	require.Equal(t, "1", h.text(`SELECT count(*) FROM effects`))
}
