//go:build unix

package devserver_test

import (
	"database/sql"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/platform/postgres/devserver"
	"millrace/platform/postgres/pgtest"
)

// victim is the target of a planted link: a file and a folder of root's.
type victim struct{ file, dir string }

const untouched = "all of root's\n"

func newVictim(t *testing.T) victim {
	t.Helper()
	home := pgtest.Dir(t) // on the same file system as the data folders, for hard links
	v := victim{file: filepath.Join(home, "file"), dir: filepath.Join(home, "dir")}
	require.NoError(t, os.WriteFile(v.file, []byte(untouched), 0o600))
	require.NoError(t, os.Mkdir(v.dir, 0o700))
	return v
}

func (v victim) requireUntouched(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile(v.file)
	require.NoError(t, err)
	require.Equal(t, untouched, string(text))
	in, err := os.ReadDir(v.dir)
	require.NoError(t, err)
	require.Empty(t, in)
	for path, mode := range map[string]fs.FileMode{v.file: 0o600, v.dir: 0o700} {
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode().Perm(), path)
		require.EqualValues(t, 0, info.Sys().(*syscall.Stat_t).Uid, path)
	}
}

// give makes the user "nobody" the owner: the user that runs the server.
func give(t *testing.T, path string) {
	t.Helper()
	nobody, err := user.Lookup("nobody")
	require.NoError(t, err)
	uid, err := strconv.Atoi(nobody.Uid)
	require.NoError(t, err)
	require.NoError(t, os.Lchown(path, uid, -1))
}

// startOrNot starts a server and stops it; the start may fail.
func startOrNot(t *testing.T, cfg devserver.Config) {
	t.Helper()
	server, err := devserver.Start(t.Context(), cfg)
	if err != nil {
		t.Log(err)
		return
	}
	require.NoError(t, server.Stop())
}

// TestRoot_GivesAwayNoHardLink: root gives its own cluster to the server's user, but must
// not give away a file that has a second hard link.
func TestRoot_GivesAwayNoHardLink(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		return // see above
	}
	v, cfg := newVictim(t), config(dataDir(t))
	require.NoError(t, start(t, cfg).Stop())
	cluster := filepath.Join(cfg.DataDir, "cluster")
	require.NoError(t, os.Chown(cluster, 0, 0))
	require.NoError(t, os.Link(v.file, filepath.Join(cluster, "base", "file")))
	require.ErrorContains(t, startError(t, cfg), "has another name (a hard link)")
	v.requireUntouched(t)
	require.NoError(t, os.Remove(filepath.Join(cluster, "base", "file")))
	start(t, cfg)
}

// TestRoot_CopiesNoPlantedLink: the server's user owns the template, and could otherwise
// read root's files in the copy.
func TestRoot_CopiesNoPlantedLink(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		return // see above
	}
	for name, link := range map[string]func(from, to string) error{"Link": os.Symlink, "HardLink": os.Link} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v, cfg := newVictim(t), config(dataDir(t))
			cfg.Template = filepath.Join(pgtest.Dir(t), "template")
			require.NoError(t, start(t, cfg).Stop())
			templates, err := filepath.Glob(filepath.Join(cfg.Template, "*", "PG_VERSION"))
			require.NoError(t, err)
			require.Len(t, templates, 1)
			require.NoError(t, link(v.file, filepath.Join(filepath.Dir(templates[0]), "base", "planted")))
			cfg.DataDir = dataDir(t)
			require.Error(t, startError(t, cfg))
			require.NoDirExists(t, filepath.Join(cfg.DataDir, "cluster"))
			v.requireUntouched(t)
		})
	}
}

// TestStart_RequiresPasswordThatOnlyTheOwnerCanRead: a password is required on a socket,
// too, because other processes of the server's user can reach it.
func TestStart_RequiresPasswordThatOnlyTheOwnerCanRead(t *testing.T) {
	t.Parallel()
	for _, template := range []string{"", template} {
		cfg := config(dataDir(t))
		cfg.Template = template
		server := start(t, cfg)
		require.Contains(t, server.URL("postgres"), "host=")
		password, err := os.ReadFile(filepath.Join(cfg.DataDir, "password"))
		require.NoError(t, err)
		for _, wrong := range []string{":guess@", "@"} {
			stranger, err := sql.Open("postgres", strings.Replace(server.URL("postgres"), ":"+string(password)+"@", wrong, 1))
			require.NoError(t, err)
			defer stranger.Close() //nolint:errcheck // it never connected
			require.Error(t, stranger.Ping())
		}
		info, err := os.Stat(filepath.Join(cfg.DataDir, "password"))
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o600), info.Mode().Perm())
		require.EqualValues(t, os.Geteuid(), info.Sys().(*syscall.Stat_t).Uid)
		rules, err := os.ReadFile(filepath.Join(cfg.DataDir, "cluster", "pg_hba.conf"))
		require.NoError(t, err)
		require.NotRegexp(t, `(?m)^\w.* trust$`, string(rules), "nor does a server that is started by hand let everybody in")
		require.NoError(t, server.Stop())
	}
}

// TestStart_SetsPasswordOfOlderCluster: older versions let everybody in who could reach
// the socket.
func TestStart_SetsPasswordOfOlderCluster(t *testing.T) {
	t.Parallel()
	cfg := config(dataDir(t))
	first := start(t, cfg)
	exec1(t, connect(t, first, "postgres"), "CREATE TABLE a AS SELECT 17 AS x")
	exec1(t, connect(t, first, "postgres"), "ALTER ROLE postgres PASSWORD NULL")
	require.NoError(t, first.Stop())
	require.NoError(t, os.Remove(filepath.Join(cfg.DataDir, "password")))
	for range 2 {
		server := start(t, cfg)
		require.Equal(t, "17", value(t, connect(t, server, "postgres"), "SELECT x FROM a"))
		require.NoError(t, server.Stop())
	}
}

// TestStart_PassesNoSecretsToServer: SQL that can run a program on the server can read its
// environment.
func TestStart_PassesNoSecretsToServer(t *testing.T) {
	for _, name := range []string{"MILLRACE_PAYMENT_CALLBACK_SECRET", "DATABASE_URL", "PGPASSWORD", "AWS_SECRET_ACCESS_KEY"} {
		t.Setenv(name, "postgres://secret")
	}
	db := connect(t, start(t, config(dataDir(t))), "postgres")
	exec1(t, db, "CREATE TABLE environment (line text)")
	exec1(t, db, "COPY environment FROM PROGRAM 'env'")
	require.Equal(t, "0", value(t, db, "SELECT count(*) FROM environment WHERE line LIKE '%secret%'"))
	require.Equal(t, "1", value(t, db, "SELECT count(*) FROM environment WHERE line LIKE 'PATH=%'"))
}
