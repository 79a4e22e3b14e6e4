package postgres_test

import (
	"context"
	"database/sql"
	"fmt"
	"testing"
	"time"

	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"millrace/platform/errs"
	"millrace/platform/postgres"
	"millrace/platform/postgres/pgtest"
)

// one opens a pool of one connection, so that all statements of a test use the same
// session.
func one(t *testing.T) *sql.DB { return open(t, postgres.Config{MaxConns: 1}) }

func exec(t *testing.T, db interface {
	ExecContext(context.Context, string, ...any) (sql.Result, error)
}, statement string, args ...any) {
	t.Helper()
	_, err := db.ExecContext(t.Context(), statement, args...)
	require.NoError(t, err)
}

// kept counts the prepared statements of the connection. Its own text has no arguments and
// is not prepared.
func kept(t *testing.T, db *sql.DB) string {
	t.Helper()
	return text(t, db, "SELECT count(*)::text FROM pg_prepared_statements")
}

func TestConn_PreparesTextOnce(t *testing.T) {
	t.Parallel()
	db := one(t)
	exec(t, db, "CREATE TABLE paid (amount bigint)")
	for amount := range 5 {
		exec(t, db, "INSERT INTO paid VALUES ($1)", amount)
	}
	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	exec(t, tx, "INSERT INTO paid VALUES ($1)", 5)
	require.NoError(t, tx.Commit())
	require.Equal(t, "1", kept(t, db))
	require.Equal(t, "6", text(t, db, "SELECT count(*) FROM paid WHERE amount >= $1", 0))
	require.Equal(t, "2", kept(t, db))
}

func TestConn_LimitsPreparedStatements(t *testing.T) {
	t.Parallel()
	db := one(t)
	const often = "SELECT $1::text || 'often'"
	for n := range 300 {
		require.Equal(t, fmt.Sprint(n), text(t, db, fmt.Sprintf("SELECT ($1::int + %d)::text", n), 0))
		require.Equal(t, "often", text(t, db, often, ""))
	}
	require.Equal(t, "256", kept(t, db))
	require.Equal(t, "1", text(t, db, "SELECT count(*)::text FROM pg_prepared_statements WHERE statement LIKE '%often%'"),
		"the one used most recently stays")
}

func TestConn_RunsSeveralStatementsInOneText(t *testing.T) {
	t.Parallel()
	db := one(t)
	exec(t, db, "CREATE TABLE a (x int); INSERT INTO a VALUES (1); INSERT INTO a VALUES (2)")
	require.Equal(t, "2", text(t, db, "SELECT count(*)::text FROM a"))
}

func TestConn_PreparesStaleStatementAgain(t *testing.T) {
	t.Parallel()
	db := one(t)
	exec(t, db, "CREATE TABLE a (x int); INSERT INTO a VALUES (1)")
	const query = "SELECT * FROM a WHERE x = $1"
	require.Equal(t, "1", text(t, db, query, 1))
	exec(t, db, "ALTER TABLE a ALTER x TYPE bigint")
	require.Equal(t, "1", text(t, db, query, 1), "outside a transaction nobody notices")
	exec(t, db, "ALTER TABLE a ALTER x TYPE text")
	require.Equal(t, "1", text(t, db, query, 1), "nor if the argument's type changed")

	exec(t, db, "ALTER TABLE a ALTER x TYPE bigint USING x::bigint")
	require.Equal(t, "1", text(t, db, query, 1))
	exec(t, db, "ALTER TABLE a ALTER x TYPE int")
	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	var x int
	err = tx.QueryRowContext(t.Context(), query, 1).Scan(&x)
	require.Equal(t, errs.Contention, errs.KindOf(err), "inside one, trying again helps: %v", err)
	require.NoError(t, tx.Rollback())
	tx, err = db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	require.NoError(t, tx.QueryRowContext(t.Context(), query, 1).Scan(&x))
	require.NoError(t, tx.Rollback())
}

func TestConn_PreparesAgainAfterDiscardAll(t *testing.T) {
	t.Parallel()
	db := one(t)
	require.Equal(t, "a", text(t, db, "SELECT $1::text", "a"))
	require.Equal(t, "bb", text(t, db, "SELECT $1::text || 'b'", "b"))
	exec(t, db, "DISCARD ALL")
	require.Equal(t, "a", text(t, db, "SELECT $1::text", "a"))
	require.Equal(t, "1", kept(t, db))
	require.Equal(t, "bb", text(t, db, "SELECT $1::text || 'b'", "b"))
}

func TestConn_FailedPrepareCanBeRetried(t *testing.T) {
	t.Parallel()
	db := one(t)
	_, err := db.ExecContext(t.Context(), "INSERT INTO nowhere VALUES ($1)", 1)
	require.NotNil(t, pq.As(err, "42P01"), "%v", err)
	exec(t, db, "CREATE TABLE nowhere (x int)")
	exec(t, db, "INSERT INTO nowhere VALUES ($1)", 1)
}

func TestConn_RefusesStatementWhileRowsAreOpen(t *testing.T) {
	t.Parallel()
	db := one(t)
	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	open, err := tx.QueryContext(t.Context(), "SELECT generate_series(1, $1)", 10_000)
	require.NoError(t, err)
	require.True(t, open.Next())
	_, err = tx.ExecContext(t.Context(), "SELECT $1::int", 1)
	require.ErrorContains(t, err, "close them first")
	_, err = tx.QueryContext(t.Context(), "SELECT 1")
	require.ErrorContains(t, err, "close them first")
	_, err = tx.PrepareContext(t.Context(), "SELECT 1")
	require.ErrorContains(t, err, "close them first")
	rest := 1
	for open.Next() {
		rest++
	}
	require.NoError(t, open.Err())
	require.Equal(t, 10_000, rest)
	exec(t, tx, "SELECT $1::int", 1)
	require.NoError(t, tx.Commit())
}

func TestConn_CancelledStatementIsShutdownAndClosesConnection(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	db := open(t, postgres.Config{URL: url, MaxConns: 1})
	const backend = "SELECT pg_backend_pid()::text"
	before := text(t, db, backend)
	tx, err := db.BeginTx(context.WithoutCancel(t.Context()), nil)
	require.NoError(t, err)
	exec(t, tx, "SAVEPOINT handler")

	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := tx.ExecContext(ctx, "SELECT pg_sleep($1)", 60)
		done <- err
	}()
	watch := open(t, postgres.Config{URL: url, MaxConns: 1})
	require.Eventually(t, func() bool {
		return text(t, watch, "SELECT count(*)::text FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%pg_sleep($1)%' AND wait_event = 'PgSleep'") == "1"
	}, time.Minute, time.Millisecond)
	cancel()
	err = <-done
	require.Equal(t, errs.Shutdown, errs.KindOf(err), "%v", err)
	require.ErrorIs(t, err, context.Canceled)

	exec(t, tx, "ROLLBACK TO handler") // the transaction is still usable
	require.NoError(t, tx.Commit())
	require.NotEqual(t, before, text(t, db, backend))
}

func TestConn_TransactionContextCancelsStatement(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	db, watch := open(t, postgres.Config{URL: url, MaxConns: 1}), open(t, postgres.Config{URL: url, MaxConns: 1})
	for _, run := range []func(context.Context, *sql.Tx) error{
		func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, "SELECT pg_sleep($1)", 60)
			return err
		},
		func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, "SELECT pg_sleep(60)")
			return err
		},
		func(ctx context.Context, tx *sql.Tx) error {
			return tx.QueryRowContext(ctx, "SELECT pg_sleep($1)::text", 60).Scan(new(string))
		},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		tx, err := db.BeginTx(ctx, nil)
		require.NoError(t, err)
		done := make(chan error, 1)
		go func() { done <- run(ctx, tx) }()
		const sleeping = "SELECT count(*)::text FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
		require.Eventually(t, func() bool { return text(t, watch, sleeping) == "1" }, time.Minute, time.Millisecond)
		cancel()
		select {
		case err := <-done:
			require.Equal(t, errs.Shutdown, errs.KindOf(err), "%v", err)
		case <-time.After(time.Minute):
			t.Fatal("the statement goes on")
		}
		require.Eventually(t, func() bool { return text(t, watch, sleeping) == "0" }, time.Minute, time.Millisecond)
		require.Equal(t, "1", text(t, db, "SELECT 1::text"), "the pool goes on with another connection")
	}
}

func TestConn_SlowStatementIsTimeout(t *testing.T) {
	t.Parallel()
	db := open(t, postgres.Config{MaxConns: 1, StatementTimeout: time.Second})
	_, err := db.ExecContext(t.Context(), "SELECT pg_sleep($1)", 60)
	require.Equal(t, errs.Timeout, errs.KindOf(err), "%v", err)
}

func TestConn_SupportsCopy(t *testing.T) {
	t.Parallel()
	db := one(t)
	exec(t, db, "CREATE TABLE a (x int)")
	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	in, err := tx.PrepareContext(t.Context(), `COPY a (x) FROM STDIN`)
	require.NoError(t, err)
	for x := range 3 {
		_, err := in.ExecContext(t.Context(), x)
		require.NoError(t, err)
	}
	_, err = in.ExecContext(t.Context())
	require.NoError(t, err)
	require.NoError(t, in.Close())
	require.NoError(t, tx.Commit())
	require.Equal(t, "3", text(t, db, "SELECT count(*)::text FROM a"))
}
