package postgres_test

import (
	"context"
	"database/sql"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/platform/errs"
	"millrace/platform/postgres"
	"millrace/platform/postgres/pgtest"
)

// hold runs the statement in a transaction that stays open until the end of the test, and
// returns the server process that holds its locks.
func hold(t *testing.T, url, statement string) (pid string) {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Config{URL: url, Schema: "public", MaxConns: 1, IdleInTxTimeout: time.Hour})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	tx, err := db.BeginTx(context.WithoutCancel(t.Context()), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, tx.Rollback()) })
	_, err = tx.ExecContext(t.Context(), statement)
	require.NoError(t, err)
	require.NoError(t, tx.QueryRowContext(t.Context(), `SELECT pg_backend_pid()::text`).Scan(&pid))
	return pid
}

// prepared returns a connection that has already prepared the statement. Otherwise preparing
// it would wait for a table's lock, which only lock_timeout limits.
func prepared(t *testing.T, db *sql.DB, statement string) *sql.Conn {
	t.Helper()
	conn, err := db.Conn(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() }) // the connection may already be closed, because its context ended
	tx, err := conn.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	_, err = tx.ExecContext(t.Context(), statement, 3)
	require.NoError(t, err)
	require.NoError(t, tx.Rollback())
	return conn
}

// waits are statements that wait for a lock, and the statements that take that lock.
var waits = map[string]struct{ lock, statement, names string }{
	"Table":     {`LOCK TABLE parcels IN EXCLUSIVE MODE`, `UPDATE parcels SET n = $1`, "RowExclusiveLock on parcels"},
	"Share":     {`LOCK TABLE parcels IN SHARE MODE`, `INSERT INTO parcels VALUES (9, $1)`, "RowExclusiveLock on parcels"},
	"Exclusive": {`LOCK TABLE parcels IN ACCESS EXCLUSIVE MODE`, `SELECT n + $1 FROM parcels WHERE id = 1`, "AccessShareLock on parcels"},
	"Row":       {`UPDATE parcels SET n = 7 WHERE id = 1`, `UPDATE parcels SET n = $1 WHERE id = 1`, "ShareLock on transactionid"},
	"UniqueKey": {`INSERT INTO parcels VALUES (5, 5)`, `INSERT INTO parcels VALUES (5, $1)`, "ShareLock on transactionid"},
	"Advisory":  {`SELECT pg_advisory_xact_lock(17)`, `SELECT pg_advisory_xact_lock(17 + $1 * 0)`, "ExclusiveLock on advisory"},
}

func newParcels(t *testing.T) (url string) {
	t.Helper()
	url = pgtest.URL(t)
	db := openURL(t, postgres.Config{URL: url, Schema: "public", MaxConns: 1})
	exec(t, db, `CREATE TABLE parcels (id int PRIMARY KEY, n int); INSERT INTO parcels VALUES (1, 1), (2, 2)`)
	return url
}

func openURL(t *testing.T, cfg postgres.Config) *sql.DB {
	t.Helper()
	db, err := postgres.Open(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

func TestOpen_DeadlineDuringLockWaitIsResourceAndNamesHolder(t *testing.T) {
	t.Parallel()
	for name, c := range waits {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := newParcels(t)
			db := openURL(t, postgres.Config{URL: url, Schema: "public", MaxConns: 2, LockTimeout: time.Minute})
			held := []*sql.Conn{prepared(t, db, c.statement), prepared(t, db, c.statement)}
			holder := hold(t, url, c.lock)
			for _, inTx := range []bool{false, true} {
				ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				defer cancel()
				var err error
				if inTx {
					var tx *sql.Tx
					tx, err = held[0].BeginTx(ctx, nil)
					require.NoError(t, err)
					_, err = tx.ExecContext(ctx, c.statement, 3)
					_ = tx.Rollback() // already rolled back when the context ended
				} else {
					_, err = held[1].ExecContext(ctx, c.statement, 3)
				}
				require.True(t, errs.Locked(err), "%v", err)
				require.Equal(t, errs.Resource, errs.KindOf(err), "%v", err)
				require.ErrorContains(t, err, c.names+", blocked by process "+holder)
			}
		})
	}
}

func TestOpen_LockTimeoutNamesHolder(t *testing.T) {
	t.Parallel()
	url := newParcels(t)
	db := openURL(t, postgres.Config{URL: url, Schema: "public", MaxConns: 1, LockTimeout: 3 * time.Second})
	c := waits["Table"]
	holder := hold(t, url, c.lock)
	_, err := db.ExecContext(t.Context(), c.statement, 3)
	require.True(t, errs.Locked(err), "%v", err)
	require.Equal(t, errs.Resource, errs.KindOf(err))
	require.ErrorContains(t, err, "lock timeout")
	require.ErrorContains(t, err, c.names+", blocked by process "+holder)
}

func TestOpen_StatementTimeoutDuringLockWaitIsResource(t *testing.T) {
	t.Parallel()
	url := newParcels(t)
	db := openURL(t, postgres.Config{URL: url, Schema: "public", MaxConns: 1, LockTimeout: time.Minute, StatementTimeout: 3 * time.Second})
	hold(t, url, waits["Row"].lock)
	_, err := db.ExecContext(t.Context(), waits["Row"].statement, 3)
	require.True(t, errs.Locked(err), "%v", err)
	require.Equal(t, errs.Resource, errs.KindOf(err), "%v", err)
}

func TestOpen_LockTimeoutBetweenRowsIsResource(t *testing.T) {
	t.Parallel()
	url := newParcels(t)
	db := openURL(t, postgres.Config{URL: url, Schema: "public", MaxConns: 1, LockTimeout: 200 * time.Millisecond})
	exec(t, db, `INSERT INTO parcels SELECT n, n FROM generate_series(10, 500) AS n`)
	hold(t, url, `UPDATE parcels SET n = 7 WHERE id = 500`)
	rows, err := db.QueryContext(t.Context(), `SELECT id, repeat('x', 1000) FROM parcels WHERE n > $1 ORDER BY id FOR UPDATE`, 0) // more bytes than one packet
	require.NoError(t, err)
	for rows.Next() {
	}
	require.True(t, errs.Locked(rows.Err()), "%v", rows.Err())
	require.NoError(t, rows.Close())
}

func TestOpen_SlowStatementWithoutLockWaitIsTimeout(t *testing.T) {
	t.Parallel()
	url := newParcels(t)
	db := openURL(t, postgres.Config{URL: url, Schema: "public", MaxConns: 2, StatementTimeout: 3 * time.Second})
	hold(t, url, waits["Table"].lock)
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	_, err := db.ExecContext(ctx, `SELECT pg_sleep(60)`)
	require.False(t, errs.Locked(err), "%v", err)
	require.Equal(t, errs.Timeout, errs.KindOf(err), "%v", err)
	_, err = db.ExecContext(t.Context(), `SELECT pg_sleep($1)`, 60)
	require.False(t, errs.Locked(err), "%v", err)
	require.Equal(t, errs.Timeout, errs.KindOf(err), "statement_timeout: %v", err)
}

func TestOpen_CancelledContextDuringLockWaitIsShutdown(t *testing.T) {
	t.Parallel()
	for name, waited := range map[string]string{"AtOnce": "0 s", "AfterTheHolderWasLookedUp": "2500 ms"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := newParcels(t)
			db := openURL(t, postgres.Config{URL: url, Schema: "public", MaxConns: 1, LockTimeout: time.Minute})
			observer := openURL(t, postgres.Config{URL: url, Schema: "public", MaxConns: 1})
			conn := prepared(t, db, waits["Table"].statement)
			hold(t, url, waits["Table"].lock)
			ctx, cancel := context.WithCancel(t.Context())
			failed := make(chan error, 1)
			go func() {
				_, err := conn.ExecContext(ctx, waits["Table"].statement, 3)
				failed <- err
			}()
			require.Eventually(t, func() bool {
				return text(t, observer, `SELECT count(*)::text FROM pg_locks JOIN pg_stat_activity USING (pid)
					WHERE datname = current_database() AND NOT granted AND clock_timestamp() - query_start >= $1::interval`, waited) == "1"
			}, time.Minute, 10*time.Millisecond)
			cancel()
			require.Equal(t, errs.Shutdown, errs.KindOf(<-failed))
		})
	}
}

func TestOpen_CancelByOperatorIsResource(t *testing.T) {
	t.Parallel()
	url := newParcels(t)
	db := openURL(t, postgres.Config{URL: url, Schema: "public", MaxConns: 1})
	observer := openURL(t, postgres.Config{URL: url, Schema: "public", MaxConns: 1})
	pid, err := strconv.Atoi(text(t, db, `SELECT pg_backend_pid()::text`))
	require.NoError(t, err)
	failed := make(chan error, 1)
	go func() {
		_, err := db.ExecContext(context.WithoutCancel(t.Context()), `SELECT pg_sleep(60)`)
		failed <- err
	}()
	require.Eventually(t, func() bool {
		return text(t, observer, `SELECT count(*)::text FROM pg_stat_activity WHERE pid = $1 AND query LIKE '%pg_sleep%' AND state = 'active'`, pid) == "1"
	}, time.Minute, 10*time.Millisecond)
	exec(t, observer, `SELECT pg_cancel_backend($1)`, pid)
	require.Equal(t, errs.Resource, errs.KindOf(<-failed))
}
