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
