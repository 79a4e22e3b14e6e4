//go:build stock

package stock_test

import (
	osexec "os/exec"
	"path/filepath"
	"testing"

	wsql "github.com/ThreeDotsLabs/watermill-sql/v4/pkg/sql"
	"github.com/stretchr/testify/require"

	"millrace/platform/postgres/devserver"
	"millrace/platform/postgres/pgtest"
)

// do runs one of PostgreSQL's client programs.
func do(t *testing.T, name string, args ...string) {
	t.Helper()
	path, err := osexec.LookPath(name)
	if err != nil {
		found, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
		require.NoError(t, err)
		require.NotEmpty(t, found, "install PostgreSQL's client programs (Debian: postgresql-client)")
		path = found[len(found)-1]
	}
	out, err := osexec.CommandContext(t.Context(), path, args...).CombinedOutput() //nolint:gosec // PostgreSQL's own
	require.NoError(t, err, "%s: %s", name, out)
}

// cluster is a server of the test's own, with a database.
func cluster(t *testing.T) *devserver.Server {
	t.Helper()
	server, err := devserver.Start(t.Context(), devserver.Config{DataDir: pgtest.Dir(t) + "/data", NoSync: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop()) })
	require.NoError(t, server.CreateDatabase(t.Context(), "messages"))
	return server
}

// Replaced by: positions by offsets of our own, which mean the same in any cluster.
func TestStockSubscriber_StallsAfterRestoreIntoNewCluster(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	before := open(t, url, 5)
	messages, stop := subscribe(t, before, "payments", stockLog())
	// A cluster that has lived: it has counted more transactions than a new one.
	exec(t, before, `DO $$ BEGIN FOR i IN 1..5000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$`)
	publish(t, publisher(t, before, wsql.DefaultPostgreSQLSchema{}), "payments", "handled")
	receive(t, messages).Ack()
	becomes(t, before, "1", `SELECT offset_acked FROM watermill_offsets_payments`)
	stop()

	restored := cluster(t).URL("messages")
	dump := filepath.Join(t.TempDir(), "dump.sql")
	do(t, "pg_dump", "--no-owner", "--file="+dump, url)
	do(t, "psql", "--quiet", "--set=ON_ERROR_STOP=1", "--file="+dump, restored)
	after := open(t, restored, 5)
	require.Equal(t, "1", rowsOf(t, after, "watermill_payments"))
	again, _ := subscribe(t, after, "payments", stockLog())
	publish(t, publisher(t, after, wsql.DefaultPostgreSQLSchema{}), "payments", "published after the restore")
	nothing(t, again, "a message of a restored database is delivered")
	require.Equal(t, "2", rowsOf(t, after, "watermill_payments"), "it is there, behind a position that no transaction reaches")
}

// Replaced by: as TestStockSubscriber_WaitsForAnyOpenTransactionOfCluster.
// Nobody need be connected for it.
func TestStockSubscriber_StopsForAbandonedPreparedTransaction(t *testing.T) {
	t.Parallel()
	cfg := devserver.Config{DataDir: pgtest.Dir(t) + "/data", NoSync: true}
	server, err := devserver.Start(t.Context(), cfg)
	require.NoError(t, err)
	require.NoError(t, server.CreateDatabase(t.Context(), "messages"))
	do(t, "psql", "--command=ALTER SYSTEM SET max_prepared_transactions = 5", server.URL("messages"))
	require.NoError(t, server.Stop())
	server, err = devserver.Start(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop()) })
	db := open(t, server.URL("messages"), 5)
	messages, _ := subscribe(t, db, "payments", stockLog())
	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	exec(t, tx, `CREATE TABLE unrelated (n int)`)
	exec(t, tx, `PREPARE TRANSACTION 'orphan'`)
	_ = tx.Rollback() // ends the prepared transaction's session
	publish(t, publisher(t, db, wsql.DefaultPostgreSQLSchema{}), "payments", "a")
	nothing(t, messages, "a message is delivered beside a prepared transaction")
	exec(t, db, `ROLLBACK PREPARED 'orphan'`)
	receive(t, messages).Ack()
}
