//go:build stock

package stock_test

import (
	"context"
	"database/sql"
	"testing"

	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"millrace/platform/postgres/pgtest"
)

// plain is database/sql over lib/pq, without the driver of package postgres, on
// one connection.
func plain(t *testing.T, url string) *sql.DB {
	t.Helper()
	connector, err := pq.NewConnector(url)
	require.NoError(t, err)
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

// Replaced by: package postgres's driver, which prepares each text once per
// connection.
func TestStockDriver_ParsesEachStatementAgain(t *testing.T) {
	t.Parallel()
	db := plain(t, pgtest.URL(t))
	const query, kept = `SELECT $1::int`, `SELECT count(*) FROM pg_prepared_statements`
	for range 5 {
		require.Equal(t, "1", text(t, db, query, 1))
	}
	require.Equal(t, "0", text(t, db, kept), "mended upstream, if a text is kept")

	conn, err := db.Conn(t.Context())
	require.NoError(t, err)
	stmt, err := conn.PrepareContext(t.Context(), query)
	require.NoError(t, err)
	for range 3 { // a statement that is kept by hand is no help in a transaction
		tx, err := conn.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		var n int
		require.NoError(t, tx.StmtContext(t.Context(), stmt).QueryRowContext(t.Context(), 1).Scan(&n))
		require.NoError(t, tx.QueryRowContext(t.Context(), kept).Scan(&n))
		require.Equal(t, 2, n, "mended upstream, if the transaction uses the statement that there is")
		require.NoError(t, tx.Commit())
	}
	require.NoError(t, stmt.Close())
	require.NoError(t, conn.Close())
}

// What a run writes of its own has no deadline for this reason; a handler that
// passed its own costs that run its connection, and is not tried twice.
func TestStockDriver_LosesConnectionWithCancelledStatement(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	db, watch := plain(t, url), plain(t, url)
	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	exec(t, tx, `CREATE TABLE effects (n int)`)
	exec(t, tx, `SAVEPOINT message`)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := tx.ExecContext(ctx, `SELECT pg_sleep(60)`)
		done <- err
	}()
	becomes(t, watch, "1", `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'`)
	cancel()
	require.Error(t, await(t, "the statement", done))
	_, err = tx.ExecContext(t.Context(), `ROLLBACK TO SAVEPOINT message`)
	require.Error(t, err, "mended upstream, if the transaction can go on without the statement that was cancelled")
	_ = tx.Rollback() // it is gone
}
