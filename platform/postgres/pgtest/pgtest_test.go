package pgtest_test

import (
	"bufio"
	"database/sql"
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

// roleVariable makes the tests below that are named for it play their part in a
// process of their own.
const roleVariable = "MILLRACE_PGTEST_ROLE"

func query(t *testing.T, address, text string) string {
	t.Helper()
	db, err := sql.Open("postgres", address)
	require.NoError(t, err)
	defer db.Close() //nolint:errcheck // the database goes with it
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

func TestEachTestHasAnEmptyDatabaseThatIsDroppedAtItsEnd(t *testing.T) {
	t.Parallel()
	outer := pgtest.URL(t)
	var inner string
	t.Run("a test", func(t *testing.T) {
		inner = pgtest.URL(t)
		require.NotEqual(t, outer, inner)
		require.Equal(t, "0", query(t, inner, "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"))
		leftOpen, err := sql.Open("postgres", inner)
		require.NoError(t, err)
		require.NoError(t, leftOpen.Ping()) // its connection does not keep the database alive
	})
	require.Equal(t, "0", query(t, outer, "SELECT count(*) FROM pg_database WHERE datname = '"+database(t, inner)+"'"))
}

func TestTheServerHasRoomForManyConnections(t *testing.T) {
	t.Parallel()
	require.Equal(t, "300", query(t, pgtest.URL(t), "SHOW max_connections"))
}

// TestPlayARole is what a child of the tests below runs: it prints the URL of its
// database and waits to be killed, or ends.
func TestPlayARole(t *testing.T) {
	switch os.Getenv(roleVariable) {
	case "url":
		fmt.Println("url", pgtest.URL(t))
	case "wait":
		fmt.Println("url", pgtest.URL(t))
		select {}
	}
}

// play runs the test binary in that role, and returns what it says of its URL.
func play(t *testing.T, role string, environment ...string) (cmd *exec.Cmd, address string, rest io.Reader) {
	t.Helper()
	cmd = exec.Command(os.Args[0], "-test.run=^TestPlayARole$", "-test.v")
	cmd.Env = append(append(os.Environ(), roleVariable+"="+role), environment...)
	pipe, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }) // it may have ended by itself
	lines := bufio.NewReader(pipe)
	for {
		line, err := lines.ReadString('\n')
		if found, ok := strings.CutPrefix(strings.TrimSpace(line), "url "); ok {
			return cmd, found, lines
		}
		require.NoError(t, err, line)
	}
}

func TestAKilledTestProcessLeavesNoServerAndNoFiles(t *testing.T) {
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

func TestAServerOfOnesOwnCanBeNamed(t *testing.T) {
	t.Parallel()
	mine := pgtest.URL(t)
	_, address, rest := play(t, "url", "MILLRACE_TEST_DATABASE_URL="+mine)
	require.Equal(t, withoutDatabase(t, mine), withoutDatabase(t, address))
	said, err := io.ReadAll(rest)
	require.NoError(t, err)
	require.Contains(t, string(said), "PASS")
	require.Equal(t, "0", query(t, mine, "SELECT count(*) FROM pg_database WHERE datname = '"+database(t, address)+"'"))
}

func withoutDatabase(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	require.NoError(t, err)
	u.Path = ""
	return u.String()
}

func TestWithoutAServerATestFailsAndDoesNotSkip(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(os.Args[0], "-test.run=^TestPlayARole$", "-test.v")
	cmd.Env = append(os.Environ(), roleVariable+"=url", "MILLRACE_TEST_DATABASE_URL=postgres://nobody@127.0.0.1:1/none?sslmode=disable")
	said, err := cmd.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(said), "--- FAIL: TestPlayARole")
	require.Contains(t, string(said), "this test needs PostgreSQL")
}
