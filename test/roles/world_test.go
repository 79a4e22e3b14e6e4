package roles_test

import (
	"context"
	"database/sql"
	"testing"

	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"millrace/cmd/millrace/app"
	"millrace/config"
	"millrace/platform/postgres"
	"millrace/platform/postgres/pgtest"
)

const password = "test"

// world is a database whose owner is not a superuser, and whose modules have roles.
type world struct {
	t      *testing.T
	prefix string
	url    string  // signs in as the superuser
	admin  *sql.DB // signed in as the superuser
	owner  string  // the user who migrates
}

// newWorld makes an empty database for an owner with the given rights.
func newWorld(t *testing.T, rights string) *world {
	t.Helper()
	w := &world{t: t, prefix: pgtest.RolePrefix(t)}
	w.url = pgtest.URL(t)
	w.admin = w.open(w.url, 2)
	w.owner = w.prefix + "owner"
	w.do(`CREATE ROLE ` + w.owner + ` LOGIN PASSWORD '` + password + `' ` + rights)
	w.do(`DO $$ BEGIN EXECUTE format('ALTER DATABASE %I OWNER TO ` + w.owner + `', current_database()); END $$`)
	return w
}

func (w *world) open(url string, conns int) *sql.DB {
	w.t.Helper()
	db, err := postgres.Open(w.t.Context(), postgres.Config{URL: url, MaxConns: conns, Application: "roles test"})
	require.NoError(w.t, err)
	w.t.Cleanup(func() { require.NoError(w.t, db.Close()) })
	return db
}

// do runs statements as the superuser.
func (w *world) do(statements string) {
	w.t.Helper()
	_, err := w.admin.ExecContext(w.t.Context(), statements)
	require.NoError(w.t, err, statements)
}

// as returns the URL that signs in as the user.
func (w *world) as(user string) string { return pgtest.As(w.url, user, password) }

// user creates a user who is a member of the modules' roles.
func (w *world) user(name string, modules ...string) (user string) {
	w.t.Helper()
	user = w.prefix + name
	w.do(`CREATE ROLE ` + user + ` LOGIN PASSWORD '` + password + `'`)
	for _, module := range modules {
		w.do(`GRANT ` + w.prefix + module + ` TO ` + user)
	}
	return user
}

func (w *world) config(url string) config.Config {
	cfg := config.Default()
	cfg.HTTP.Address, cfg.DataDir, cfg.Database.MaxConnsPerModule = "127.0.0.1:0", w.t.TempDir(), 5
	cfg.Database.URL, cfg.Database.RolePrefix = config.Secret(url), w.prefix
	return cfg
}

// migrate does what `millrace migrate` does, as the owner.
func (w *world) migrate() error { return w.migrateAs(w.config(w.as(w.owner))) }

func (w *world) migrateAs(cfg config.Config) error {
	database, err := app.OpenDatabase(w.t.Context(), cfg, nil)
	if err != nil {
		return err
	}
	return app.Migrate(w.t.Context(), cfg, database)
}

// attempts runs each statement on a user's connection and rolls it back. It returns
// their SQLSTATEs; "MR000" means success.
func attempts(ctx context.Context, t *testing.T, db *sql.DB, statements []string) []string {
	t.Helper()
	conn, err := db.Conn(ctx)
	require.NoError(t, err)
	defer conn.Close() //nolint:errcheck // it goes back to its pool
	_, err = conn.ExecContext(ctx, `
		CREATE OR REPLACE FUNCTION pg_temp.attempt(statement text) RETURNS text LANGUAGE plpgsql AS $$
		BEGIN
			EXECUTE statement;
			RAISE SQLSTATE 'MR000';
		EXCEPTION WHEN OTHERS THEN
			RETURN SQLSTATE;
		END $$`)
	require.NoError(t, err)
	var states []string
	const few = 100 // per query, since each has a time limit
	for from := 0; from < len(statements); from += few {
		some := statements[from:min(from+few, len(statements))]
		var got pq.StringArray
		require.NoError(t, conn.QueryRowContext(ctx, `
			SELECT array_agg(pg_temp.attempt(s) ORDER BY place) FROM unnest($1::text[]) WITH ORDINALITY AS u(s, place)`, pq.Array(some)).Scan(&got))
		states = append(states, got...)
	}
	return states
}

const (
	succeeded = "MR000"
	refused   = "42501"
)
