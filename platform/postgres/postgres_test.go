package postgres_test

import (
	"context"
	"database/sql"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"millrace/platform/postgres"
	"millrace/platform/postgres/pgtest"
)

func open(t *testing.T, cfg postgres.Config) *sql.DB {
	t.Helper()
	if cfg.URL == "" {
		cfg.URL = pgtest.URL(t)
	}
	if cfg.MaxConns == 0 {
		cfg.MaxConns = 4
	}
	if cfg.Schema == "" {
		cfg.Schema = "public"
	}
	db, err := postgres.Open(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

func text(t *testing.T, db *sql.DB, query string, args ...any) string {
	t.Helper()
	var got string
	require.NoError(t, db.QueryRowContext(t.Context(), query, args...).Scan(&got))
	return got
}

func TestOpen_AppliesSettings(t *testing.T) {
	t.Parallel()
	db := open(t, postgres.Config{Schema: "payment", Application: "millrace test", StatementTimeout: 7 * time.Second})
	for setting, want := range map[string]string{
		"search_path":                         `"payment"`,
		"TimeZone":                            "UTC",
		"application_name":                    "millrace test",
		"statement_timeout":                   "7s",
		"lock_timeout":                        "4s",
		"idle_in_transaction_session_timeout": "3s",
	} {
		require.Equal(t, want, text(t, db, "SELECT current_setting($1)", setting), setting)
	}
}

// In clusters of PostgreSQL 14 and before everybody may create functions in the schema
// public. A connection without a schema must not find them, nor those of a user's schema.
func TestOpen_FindsOnlyTheServersOwnFunctionsWithoutASchema(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	exec(t, open(t, postgres.Config{URL: url}), `
		CREATE FUNCTION public.hashtextextended(text, integer) RETURNS bigint LANGUAGE sql AS 'SELECT 1'; CREATE FUNCTION public.trap() RETURNS int LANGUAGE sql AS 'SELECT 1'`)
	db, err := postgres.Open(t.Context(), postgres.Config{URL: url, MaxConns: 1})
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	require.Equal(t, "pg_catalog, pg_temp", text(t, db, "SELECT current_setting('search_path')"))
	require.NotEqual(t, "1", text(t, db, "SELECT hashtextextended('millrace', 0)"))
	_, err = db.ExecContext(t.Context(), "SELECT trap()")
	require.ErrorContains(t, err, "does not exist")
	_, err = db.ExecContext(t.Context(), "CREATE TEMPORARY TABLE mine (x int); SELECT x FROM mine")
	require.NoError(t, err)
}

func TestOpen_TakesTheSearchPathOfTheURL(t *testing.T) {
	t.Parallel()
	db, err := postgres.Open(t.Context(), postgres.Config{URL: pgtest.URL(t) + "&search_path=public", MaxConns: 1})
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	require.Equal(t, "public", text(t, db, "SELECT current_setting('search_path')"))
}

func TestMigrate_ConcurrentCallsApplyOnce(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	files := fstest.MapFS{
		"00001_first.sql":  {Data: []byte("-- +goose Up\nCREATE TABLE ledger (id bigint PRIMARY KEY); INSERT INTO ledger VALUES (1);\n-- +goose Down\nDROP TABLE ledger;\n")},
		"00002_second.sql": {Data: []byte("-- +goose Up\nINSERT INTO ledger VALUES (2);\n-- +goose Down\nDELETE FROM ledger;\n")},
	}
	var all errgroup.Group
	for range 8 {
		db := open(t, postgres.Config{URL: url, MaxConns: 1})
		all.Go(func() error { return postgres.Migrate(context.Background(), db, "payment", "payment_version", files) })
	}
	require.NoError(t, all.Wait())
	db := open(t, postgres.Config{URL: url, Schema: "payment"})
	require.Equal(t, "1,2", text(t, db, "SELECT string_agg(id::text, ',' ORDER BY id) FROM ledger"))
	require.Equal(t, "0,1,2", text(t, db, "SELECT string_agg(version_id::text, ',' ORDER BY id) FROM payment.payment_version"))
}
