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

// fakePrograms writes an initdb and a postgres that print and fail.
func fakePrograms(t *testing.T, says string) string {
	t.Helper()
	dir := filepath.Join(dataDir(t), "bin")
	require.NoError(t, os.MkdirAll(dir, 0o755))
	for _, name := range []string{"initdb", "postgres"} {
		script := "#!/bin/sh\nif [ \"$1\" = --version ]; then echo '" + name + " (PostgreSQL) 15.1'; exit; fi\necho '" + says + "' >&2\nexit 1\n"
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755))
	}
	return dir
}

func TestAFullDiskIsSaidToBeFull(t *testing.T) {
	t.Parallel()
	cfg := config(dataDir(t))
	cfg.Binaries.Dir = fakePrograms(t, `initdb: error: could not write file "pg_hba.conf": No space left on device`)
	err := startError(t, cfg)
	require.Equal(t, errs.Resource, errs.KindOf(err))
	require.ErrorContains(t, err, "is full")
	require.ErrorContains(t, err, "data_dir")
	require.ErrorContains(t, err, cfg.DataDir)
}

func TestWhyAServerDidNotStartIsInTheError(t *testing.T) {
	t.Parallel()
	cfg := config(dataDir(t))
	require.NoError(t, start(t, cfg).Stop())
	cfg.Binaries.Dir = fakePrograms(t, "FATAL: something nobody foresaw")
	err := startError(t, cfg)
	require.ErrorContains(t, err, "something nobody foresaw")
	require.ErrorContains(t, err, "server.log")
}

// A process of the server lives on after the main one was killed, until it looks.
func TestAStartWaitsForWhatAKilledServerHasLeft(t *testing.T) {
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
			said, _ := os.ReadFile(filepath.Join(cfg.DataDir, "server.log")) // perhaps it is not there yet
			if strings.Contains(string(said), "pre-existing shared memory block") {
				break
			}
		}
		_ = syscall.Kill(busy, syscall.SIGCONT) // if it were gone, the start would have said so
	}()
	require.Equal(t, "17", value(t, connect(t, start(t, cfg), "postgres"), "SELECT 17"))
	<-refused
}

func TestAnUnusedFolderIsRemovedAndAUsedOneIsNot(t *testing.T) {
	t.Parallel()
	cfg := config(dataDir(t))
	server := start(t, cfg)
	devserver.RemoveUnused(cfg.DataDir)
	require.DirExists(t, cfg.DataDir)
	require.NoError(t, server.Stop())
	devserver.RemoveUnused(cfg.DataDir)
	require.NoDirExists(t, cfg.DataDir)
}
