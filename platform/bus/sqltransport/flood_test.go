package sqltransport_test

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
	"millrace/platform/bus/sqltransport"
	"millrace/platform/postgres"
)

// TestNotifications_AFloodOfThemIsBounded: every user of a database may send
// notifications on any channel. A flood costs reads, and neither memory nor
// messages. It does not run beside others: it measures this process's memory.
func TestNotifications_AFloodOfThemIsBounded(t *testing.T) { //nolint:paralleltest // see above
	handled := make(chan int, 1000)
	r := start(t, fresh(t), sqltransport.Config{},
		part{name: "shop", publishes: []bus.Event{paid{}}},
		part{name: "store", subscribes: []bus.Subscription{bus.On(func(_ context.Context, tx *bus.Tx, p paid) error {
			tx.AfterCommit(func() { handled <- p.N })
			return nil
		})}})
	publish := func(n int) {
		require.NoError(t, r.transport.DB("shop").InTx(t.Context(), func(tx *bus.Tx) error { return tx.Publish(paid{"x", n}) }))
		require.Equal(t, n, waitFor(t, "the message", handled))
	}
	publish(0)
	anybody, err := postgres.Open(t.Context(), postgres.Config{URL: r.url, MaxConns: 1, Application: "flood"})
	require.NoError(t, err)
	defer func() { require.NoError(t, anybody.Close()) }()
	heap, goroutines := used()
	const rounds, each = 20, 5000 // 100,000, each different, or PostgreSQL would send it once
	for round := range rounds {
		_, err := anybody.ExecContext(t.Context(), `
			SELECT pg_notify('millrace', CASE i % 5
				WHEN 0 THEN 'hello ' || i WHEN 1 THEN 'log ' || i || ' shop.events=ffffffffffffffff shop.commands=ffffffffffffffff'
				WHEN 2 THEN 'log x unknown' || i || '.events=ffffffffffffffff' WHEN 3 THEN 'parked store shop.events ' || i % 64
				ELSE i || $2 END)
			FROM generate_series($1::int, $1::int + 4999) AS i`, round*each, strings.Repeat("x", 2000))
		require.NoError(t, err)
		publish(round + 1)
	}
	var waiting float64
	require.Eventually(t, func() bool {
		require.NoError(t, anybody.QueryRowContext(t.Context(), `SELECT pg_notification_queue_usage()`).Scan(&waiting))
		return waiting == 0
	}, time.Minute, 10*time.Millisecond, "the process receives them all")
	require.Eventually(t, func() bool { // what they woke ends by itself
		after, more := used()
		return after < heap+8<<20 && more <= goroutines+5
	}, time.Minute, 10*time.Millisecond, "more than %d bytes and %d goroutines", heap, goroutines)
	publish(rounds + 1)
}

func used() (heap uint64, goroutines int) {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc, runtime.NumGoroutine()
}
