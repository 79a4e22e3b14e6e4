package admin_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/platform/bus/admin"
	"millrace/platform/errs"
	"millrace/platform/postgres"
	"millrace/platform/postgres/pgtest"
)

func TestMigrate_RefusesADatabaseOfBefore010AndChangesNothing(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	db, err := postgres.Open(t.Context(), postgres.Config{URL: url, MaxConns: 1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	_, err = db.ExecContext(t.Context(), `CREATE SCHEMA bus CREATE TABLE processes (id uuid PRIMARY KEY)`)
	require.NoError(t, err)

	err = admin.MigrateModules(t.Context(), url, []string{"store"})
	require.Equal(t, errs.Invalid, errs.KindOf(err), "%v", err)
	require.ErrorContains(t, err, "created before 0.1.0")
	require.ErrorContains(t, err, "start with a new database")
	_, err = admin.Behind(t.Context(), db, []string{"store"})
	require.ErrorContains(t, err, "created before 0.1.0")
	var tables string
	require.NoError(t, db.QueryRowContext(t.Context(), `
		SELECT string_agg(n.nspname || '.' || c.relname, ' ') FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'`).Scan(&tables))
	require.Equal(t, "bus.processes", tables)
}
