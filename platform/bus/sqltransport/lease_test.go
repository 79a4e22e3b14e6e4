package sqltransport_test

import (
	"context"
	"database/sql"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
	"millrace/platform/bus/sqltransport"
	"millrace/platform/bus/store"
	"millrace/platform/postgres"
	"millrace/platform/postgres/pgurl"
)

// renewals waits until the lease was renewed n times after this call.
func renewals(t *testing.T, db *sql.DB, process uuid.UUID, n int) {
	t.Helper()
	read := func() (at time.Time) {
		require.NoError(t, db.QueryRowContext(t.Context(), `SELECT expires_at FROM bus.nodes WHERE id = $1`, process).Scan(&at))
		return at
	}
	last := read()
	for range n {
		require.Eventually(t, func() bool {
			now := read()
			renewed := !now.Equal(last)
			last = now
			return renewed
		}, time.Minute, 5*time.Millisecond, "the lease is not renewed")
	}
}

// Every connection of the modules is taken by requests, and every one that reads
// the logs waits for a lock.
func TestLease_IsRenewedWhileNoOtherConnectionIsFree(t *testing.T) {
	t.Parallel()
	const pool = 10
	subscriptions := []bus.Subscription{bus.On(func(context.Context, *bus.Tx, paid) error { return nil })}
	target := withLockTimeout(t, fresh(t))
	r := start(t, target, sqltransport.Config{LeaseTTL: time.Second, Workers: 8, MaxConnsPerModule: pool},
		part{name: "shop", publishes: []bus.Event{paid{}}}, part{name: "store", subscribes: subscriptions})
	db, err := postgres.Open(t.Context(), postgres.Config{URL: target, MaxConns: 3, IdleInTxTimeout: time.Hour})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	owned := func() (n int) {
		require.NoError(t, db.QueryRowContext(t.Context(), `SELECT count(*) FROM store.offsets WHERE node = $1`, r.transport.Node()).Scan(&n))
		return n
	}
	require.Eventually(t, func() bool { return owned() == store.Partitions }, time.Minute, 10*time.Millisecond)

	var holders sync.WaitGroup
	requests, over := context.WithCancel(t.Context())
	t.Cleanup(func() { over(); holders.Wait() })
	lock, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = lock.Rollback() }) // in case the test fails before
	_, err = lock.ExecContext(t.Context(), `LOCK TABLE shop.log`)
	require.NoError(t, err)
	// The readers look, as if another process had published in each partition.
	_, err = db.ExecContext(t.Context(), `SELECT pg_notify('millrace', 'log 0 shop.events=ffffffffffffffff')`)
	require.NoError(t, err)
	// The four that read, and since when they wait; none while fewer do.
	waiting := func() (begun sql.NullString) {
		require.NoError(t, db.QueryRowContext(t.Context(), `
			SELECT CASE WHEN count(*) = 4 THEN string_agg(pid || ' ' || query_start, ', ' ORDER BY pid) END FROM pg_stat_activity
			WHERE datname = current_database() AND application_name = 'millrace bus' AND wait_event_type = 'Lock'`).Scan(&begun))
		return begun
	}
	for _, module := range []string{"shop", "store"} {
		for range pool {
			holders.Go(func() {
				for requests.Err() == nil {
					_ = r.transport.DB(module).QueryRowContext(requests, `SELECT pg_sleep(5)`).Err() // cut off when the test ends
				}
			})
		}
	}
	for round := 0; ; round++ { // a statement's time limit may end between two looks
		require.Less(t, round, 10)
		var begun sql.NullString
		require.Eventually(t, func() bool { begun = waiting(); return begun.Valid }, time.Minute, 10*time.Millisecond, "the readers do not wait")
		renewals(t, db, r.transport.Node(), 3)
		if waiting() == begun {
			break
		}
	}
	require.Equal(t, store.Partitions, owned())
	require.NoError(t, lock.Rollback())
}

// The renewal whose connection ends at the server, before it or under it, is
// made over a new one: the next renewal might come too late.
func TestLease_IsRenewedOverNewConnections(t *testing.T) {
	t.Parallel()
	log := &logLines{}
	r := start(t, fresh(t), sqltransport.Config{LeaseTTL: 6 * time.Second, Logger: slog.New(slog.NewJSONHandler(log, nil))},
		part{name: "shop", publishes: []bus.Event{paid{}}})
	db, err := postgres.Open(t.Context(), postgres.Config{URL: r.url, MaxConns: 2, IdleInTxTimeout: time.Hour})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	end := func(those string) {
		t.Helper()
		require.Eventually(t, func() bool {
			var ended int
			require.NoError(t, db.QueryRowContext(t.Context(), `
				SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
				WHERE datname = current_database() AND application_name = 'millrace lease' AND `+those).Scan(&ended))
			return ended > 0
		}, time.Minute, 10*time.Millisecond)
	}
	end(`state = 'idle'`)
	renewals(t, db, r.transport.Node(), 1)
	lock, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = lock.Rollback() }) // in case the test fails before
	_, err = lock.ExecContext(t.Context(), `SELECT FROM bus.nodes FOR UPDATE`)
	require.NoError(t, err)
	end(`wait_event_type = 'Lock'`)
	require.NoError(t, lock.Rollback())
	renewals(t, db, r.transport.Node(), 1)
	require.Empty(t, log.with(t, "lease not renewed"))
}

// What shares the partitions waits for a lock; the renewal does not wait for it.
func TestLease_IsRenewedWhilePartitionsCannotBeShared(t *testing.T) {
	t.Parallel()
	target := withLockTimeout(t, fresh(t))
	// The turn that waits is cut off after one lease time, the renewal comes after half of it.
	r := start(t, target, sqltransport.Config{LeaseTTL: 8 * time.Second}, part{name: "shop", publishes: []bus.Event{paid{}}},
		part{name: "store", subscribes: []bus.Subscription{bus.On(func(context.Context, *bus.Tx, paid) error { return nil })}})
	db, err := postgres.Open(t.Context(), postgres.Config{URL: target, MaxConns: 3, IdleInTxTimeout: time.Hour})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	lock, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = lock.Rollback() }) // in case the test fails before
	_, err = lock.ExecContext(t.Context(), `LOCK TABLE store.offsets`)
	require.NoError(t, err)
	waits := func() (begun sql.NullString) {
		require.NoError(t, db.QueryRowContext(t.Context(), `
			SELECT max(pid || ' ' || query_start) FROM pg_stat_activity
			WHERE datname = current_database() AND application_name = 'millrace lease' AND wait_event_type = 'Lock'`).Scan(&begun))
		return begun
	}
	for round := 0; ; round++ { // a busy machine may renew when the wait was cut off already
		require.Less(t, round, 10, "never renewed while what shares them waits")
		var begun sql.NullString
		require.Eventually(t, func() bool { begun = waits(); return begun.Valid }, time.Minute, 5*time.Millisecond, "nothing waits")
		renewals(t, db, r.transport.Node(), 1)
		if waits() == begun {
			break
		}
	}
	require.NoError(t, lock.Rollback())
}

// withLockTimeout lets statements wait for a lock until their own time limit.
func withLockTimeout(t *testing.T, target string) string {
	t.Helper()
	u, err := pgurl.Parse(target)
	require.NoError(t, err)
	return u.With("lock_timeout", "120000").String()
}
