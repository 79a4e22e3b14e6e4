//go:build chaos

package chaos_test

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/platform/postgres"
	"millrace/platform/postgres/devserver"
	"millrace/platform/postgres/pgtest"
	"millrace/test/ports"
)

// A dump is restored into a new PostgreSQL cluster, whose transaction ids start from
// the beginning. All subscribers must continue at their offsets. The program was
// killed under load, so the dump has unfinished work of every kind.
func TestRestore_IntoANewClusterContinuesAtTheSameOffsets(t *testing.T) {
	t.Parallel()
	w := fresh(t)
	w.exec(`DO $$ BEGIN FOR i IN 1..5000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$`)
	at := ports.Of(t)
	p := w.serve(at, "")
	l := w.load(3, at)
	l.accepts(30)
	require.NoError(t, p.Process.Kill())
	require.Error(t, p.wait("it was killed"))
	w.becomes("0", `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'millrace%'`)

	server, err := devserver.Start(t.Context(), devserver.Config{DataDir: pgtest.Dir(t) + "/data", NoSync: true}) // no power failure here, so no need to sync
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Stop() })
	require.NoError(t, server.CreateDatabase(t.Context(), "restored"))
	dump := filepath.Join(t.TempDir(), "dump.sql")
	clientProgram(t, "pg_dump", "--no-owner", "--file="+dump, w.url)
	clientProgram(t, "psql", "--quiet", "--set=ON_ERROR_STOP=1", "--file="+dump, server.URL("restored"))
	before := w.one(`pg_current_xact_id()::text::bigint`)
	w.url = server.URL("restored")
	w.db, err = postgres.Open(t.Context(), postgres.Config{URL: w.url, MaxConns: 4, Application: "chaos"})
	require.NoError(t, err)
	t.Cleanup(func() { _ = w.db.Close() })
	w.becomes("true", `pg_current_xact_id()::text::bigint < $1::bigint`, before)
	w.env = append(w.env, "MILLRACE_DATABASE_URL="+w.url)

	w.serve(at, "")
	l.accepts(30)
	l.accounted()
}

// clientProgram runs one of PostgreSQL's client programs.
func clientProgram(t *testing.T, name string, args ...string) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		found, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
		require.NoError(t, err)
		require.NotEmpty(t, found, "install PostgreSQL's client programs (Debian: postgresql-client)")
		path = found[len(found)-1]
	}
	out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput()
	require.NoError(t, err, "%s: %s", name, out)
}
