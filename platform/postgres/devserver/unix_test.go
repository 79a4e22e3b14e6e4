//go:build unix

package devserver_test

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/platform/errs"
	"millrace/platform/postgres/devserver"
)

func running(pid int) bool { return !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }

// fakePrograms writes an initdb and a postgres that print a message and fail.
func fakePrograms(t *testing.T, message string) string {
	t.Helper()
	dir := filepath.Join(dataDir(t), "bin")
	require.NoError(t, os.MkdirAll(dir, 0o755))
	for _, name := range []string{"initdb", "postgres"} {
		script := "#!/bin/sh\nif [ \"$1\" = --version ]; then echo '" + name + " (PostgreSQL) 15.1'; exit; fi\necho '" + message + "' >&2\nexit 1\n"
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755))
	}
	return dir
}

func TestStart_ReportsFullDisk(t *testing.T) {
	t.Parallel()
	cfg := config(dataDir(t))
	cfg.Binaries.Dir = fakePrograms(t, `initdb: error: could not write file "pg_hba.conf": No space left on device`)
	err := startError(t, cfg)
	require.Equal(t, errs.Resource, errs.KindOf(err))
	require.ErrorContains(t, err, "is full")
	require.ErrorContains(t, err, "data_dir")
	require.ErrorContains(t, err, cfg.DataDir)
}

func TestStart_ExplainsInitdbError(t *testing.T) {
	t.Parallel()
	for message, want := range map[string][]string{
		"initdb: could not look up effective user ID 12345: user does not exist":                                            {"needs an entry", "/etc/passwd", "set DATABASE_URL"},
		`FATAL:  could not resize shared memory segment "/PostgreSQL.4155615518" to 1048576 bytes: No space left on device`: {"/dev/shm", "--shm-size"},
	} {
		cfg := config(dataDir(t))
		cfg.Binaries.Dir = fakePrograms(t, message)
		err := startError(t, cfg)
		for _, part := range want {
			require.ErrorContains(t, err, part)
		}
		require.NotContains(t, err.Error(), "the disk that holds")
	}
}

func TestStart_AcceptsUnusualPaths(t *testing.T) {
	t.Parallel()
	for name, where := range map[string]string{
		"a,b": "@127.0.0.1:", `"quoted", 'twice'`: "@127.0.0.1:", `sp ace "q" 'q'`: "host=", "퍼센트 %41 $HOME": "host=", `back\slash`: "host=", "#?&=+;@ ": "host=",
	} {
		server := start(t, config(filepath.Join(dataDir(t), name)))
		require.Contains(t, server.URL("postgres"), where, name)
		require.Equal(t, "1", value(t, connect(t, server, "postgres"), "SELECT 1"), name)
	}
}

func TestStart_RefusesPathThatPostgreSQLCannotUse(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"new\nline", "tab\tulator", strings.Repeat("long/", 200)} {
		dir := filepath.Join(dataDir(t), name)
		err := startError(t, config(dir))
		require.Equal(t, "data_dir", errs.FieldOf(err), name)
		require.NoDirExists(t, dir)
	}
}

func TestStart_ErrorContainsServerLog(t *testing.T) {
	t.Parallel()
	cfg := config(dataDir(t))
	require.NoError(t, start(t, cfg).Stop())
	cfg.Binaries.Dir = fakePrograms(t, "FATAL: something nobody foresaw")
	err := startError(t, cfg)
	require.ErrorContains(t, err, "something nobody foresaw")
	require.ErrorContains(t, err, "server.log")
}

// After kill -9 of the main process, a child process of the server runs until it next waits.
func TestStart_WaitsForOrphansOfKilledServer(t *testing.T) {
	t.Parallel()
	cfg := config(dataDir(t))
	server := start(t, cfg)
	db := connect(t, server, "postgres")
	db.SetMaxOpenConns(1)
	busy, err := strconv.Atoi(value(t, db, "SELECT pg_backend_pid()"))
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(busy, syscall.SIGSTOP))
	require.NoError(t, syscall.Kill(server.PID(), syscall.SIGKILL))
	<-server.Done()
	require.NoError(t, server.Stop())
	refused := make(chan struct{})
	go func() {
		defer close(refused)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-tick.C {
			logged, _ := os.ReadFile(filepath.Join(cfg.DataDir, "server.log")) // the file may not exist yet
			if strings.Contains(string(logged), "pre-existing shared memory block") {
				break
			}
		}
		_ = syscall.Kill(busy, syscall.SIGCONT) // an error means that it has ended
	}()
	require.Equal(t, "17", value(t, connect(t, start(t, cfg), "postgres"), "SELECT 17"))
	<-refused
}

// A child process that has just been forked holds a copy of the locked file until it
// executes its program: the lock must not outlive the server until then.
func TestStop_ReleasesLockOfWhichAChildHoldsACopy(t *testing.T) {
	t.Parallel()
	cfg := config(dataDir(t))
	server := start(t, cfg)
	copied, err := syscall.Dup(server.LockFD())
	require.NoError(t, err)
	require.NoError(t, server.Stop())
	devserver.RemoveUnused(cfg.DataDir)
	require.NoDirExists(t, cfg.DataDir)
	require.NoError(t, syscall.Close(copied))
}

func TestRemoveUnused_KeepsFolderInUse(t *testing.T) {
	t.Parallel()
	cfg := config(dataDir(t))
	server := start(t, cfg)
	devserver.RemoveUnused(cfg.DataDir)
	require.DirExists(t, cfg.DataDir)
	require.NoError(t, server.Stop())
	devserver.RemoveUnused(cfg.DataDir)
	require.NoDirExists(t, cfg.DataDir)
}
