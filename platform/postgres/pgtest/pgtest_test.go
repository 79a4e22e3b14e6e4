package pgtest_test

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"millrace/platform/postgres/pgtest"
)

// roleVariable makes the test binary, as a child process, play a role in TestChild_PlaysItsRole.
const roleVariable = "MILLRACE_PGTEST_ROLE"

func query(t *testing.T, address, text string) string {
	t.Helper()
	db, err := sql.Open("postgres", address)
	require.NoError(t, err)
	defer db.Close() //nolint:errcheck // the database is dropped anyway
	var got string
	require.NoError(t, db.QueryRowContext(t.Context(), text).Scan(&got))
	return got
}

func database(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	require.NoError(t, err)
	return strings.TrimPrefix(u.Path, "/")
}

func TestURL_IsEmptyDatabaseThatIsDroppedAtTestEnd(t *testing.T) {
	t.Parallel()
	outer := pgtest.URL(t)
	var inner string
	t.Run("Inner", func(t *testing.T) {
		inner = pgtest.URL(t)
		require.NotEqual(t, outer, inner)
		require.Equal(t, "0", query(t, inner, "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"))
		leftOpen, err := sql.Open("postgres", inner)
		require.NoError(t, err)
		require.NoError(t, leftOpen.Ping()) // an open connection must not prevent the drop
	})
	require.Equal(t, "0", query(t, outer, "SELECT count(*) FROM pg_database WHERE datname = '"+database(t, inner)+"'"))
}

func TestCopyOf_PreparesOnceAndCopiesAreApart(t *testing.T) {
	t.Parallel()
	prepared := 0
	prepare := func(ctx context.Context, url string) error {
		prepared++
		db, err := sql.Open("postgres", url)
		if err != nil {
			return err
		}
		_, err = db.ExecContext(ctx, "CREATE TABLE public.things AS SELECT 1 AS n")
		return errors.Join(err, db.Close())
	}
	first := pgtest.CopyOf(t, t.Name(), prepare)
	require.Equal(t, "2", query(t, first, "WITH more AS (INSERT INTO public.things VALUES (2) RETURNING n) SELECT n FROM more"))
	second := pgtest.CopyOf(t, t.Name(), prepare)
	require.NotEqual(t, first, second)
	require.Equal(t, "1", query(t, second, "SELECT count(*) FROM public.things"))
	require.Equal(t, "2", query(t, first, "SELECT count(*) FROM public.things"))
	require.Equal(t, 1, prepared)
}

// 4,096 iterations for each connection took a third of the tests' processor time.
func TestServer_SigningInTakesFewIterations(t *testing.T) {
	t.Parallel()
	require.Equal(t, "SCRAM-SHA-256$1000", query(t, pgtest.URL(t), "SELECT split_part(rolpassword, ':', 1) FROM pg_authid WHERE rolname = current_user"))
}

func TestServer_AllowsManyConnections(t *testing.T) {
	t.Parallel()
	require.Equal(t, "1000", query(t, pgtest.URL(t), "SHOW max_connections"))
}

// TestChild_PlaysItsRole is no test of its own. Other tests run it in a child process, where it
// prints the URL of its database and, depending on the role, waits to be killed.
func TestChild_PlaysItsRole(t *testing.T) {
	switch os.Getenv(roleVariable) {
	case "url":
		fmt.Println("url", pgtest.URL(t))
	case "wait":
		fmt.Println("url", pgtest.URL(t))
		select {}
	}
}

// play runs TestChild_PlaysItsRole in a child process, and returns the URL that it printed.
func play(t *testing.T, role string, environment ...string) (cmd *exec.Cmd, address string, rest io.Reader) {
	t.Helper()
	cmd = exec.Command(os.Args[0], "-test.run=^TestChild_PlaysItsRole$", "-test.v")
	cmd.Env = append(append(os.Environ(), roleVariable+"="+role), environment...)
	pipe, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }) // it may already have ended
	lines := bufio.NewReader(pipe)
	for {
		line, err := lines.ReadString('\n')
		if found, ok := strings.CutPrefix(strings.TrimSpace(line), "url "); ok {
			return cmd, found, lines
		}
		require.NoError(t, err, line)
	}
}

func TestServer_EndsAndRemovesFilesWhenTestProcessIsKilled(t *testing.T) {
	t.Parallel()
	cmd, address, _ := play(t, "wait", "MILLRACE_TEST_DATABASE_URL=")
	u, err := url.Parse(address)
	require.NoError(t, err)
	folder := filepath.Dir(u.Query().Get("host"))
	require.DirExists(t, folder)
	require.NoError(t, cmd.Process.Kill())
	require.Eventually(t, func() bool {
		_, err := os.Stat(folder)
		return os.IsNotExist(err)
	}, time.Minute, 10*time.Millisecond, "%s is left", folder)
}

func TestURL_UsesServerOfVariable(t *testing.T) {
	t.Parallel()
	mine := pgtest.URL(t)
	_, address, rest := play(t, "url", "MILLRACE_TEST_DATABASE_URL="+mine)
	require.Equal(t, withoutDatabase(t, mine), withoutDatabase(t, address))
	output, err := io.ReadAll(rest)
	require.NoError(t, err)
	require.Contains(t, string(output), "PASS")
	require.Equal(t, "0", query(t, mine, "SELECT count(*) FROM pg_database WHERE datname = '"+database(t, address)+"'"))
}

func withoutDatabase(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	require.NoError(t, err)
	u.Path = ""
	return u.String()
}

// TestServer_RefusesPlantedCacheFolder: programs in the cache are run, so another user must
// not be able to choose them.
func TestServer_RefusesPlantedCacheFolder(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_CACHE_HOME", filepath.Join(home, ".cache"))
	cache, err := os.UserCacheDir()
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Join(cache, "millrace"), 0o700))
	require.NoError(t, os.Symlink(t.TempDir(), filepath.Join(cache, "millrace", "pgtest")))
	cmd := exec.Command(os.Args[0], "-test.run=^TestChild_PlaysItsRole$", "-test.v")
	cmd.Env = append(os.Environ(), roleVariable+"=url", "MILLRACE_TEST_DATABASE_URL=")
	output, err := cmd.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(output), "--- FAIL: TestChild_PlaysItsRole")
	require.Contains(t, string(output), "folder is not private")
}

func TestURL_FailsTestWithoutServer(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(os.Args[0], "-test.run=^TestChild_PlaysItsRole$", "-test.v")
	cmd.Env = append(os.Environ(), roleVariable+"=url", "MILLRACE_TEST_DATABASE_URL=postgres://nobody@127.0.0.1:1/none?sslmode=disable")
	output, err := cmd.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(output), "--- FAIL: TestChild_PlaysItsRole")
	require.Contains(t, string(output), "this test needs PostgreSQL")
}
