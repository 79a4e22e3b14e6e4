//go:build unix

package devserver

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// sleeper is a process for a watchdog to watch, and a folder for it to remove.
func sleeper(t *testing.T) (cmd *exec.Cmd, files layout, ended chan error) {
	t.Helper()
	files = layoutOf(filepath.Join(t.TempDir(), "data"))
	require.NoError(t, os.MkdirAll(files.cluster, 0o700))
	cmd = exec.Command("sleep", "600")
	require.NoError(t, cmd.Start())
	require.NoError(t, os.WriteFile(filepath.Join(files.cluster, "postmaster.pid"), []byte(strconv.Itoa(cmd.Process.Pid)), 0o600))
	ended = make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // it may already have ended
	return cmd, files, ended
}

func removed(t *testing.T, files layout) {
	t.Helper()
	require.Eventually(t, func() bool {
		_, err := os.Stat(files.dir)
		return os.IsNotExist(err)
	}, time.Minute, 5*time.Millisecond)
}

func TestWatchdog_EndsServerWhenProgramDies(t *testing.T) {
	t.Parallel()
	cmd, files, ended := sleeper(t)
	dog, err := watch(cmd.Process.Pid, files, true)
	require.NoError(t, err)
	require.NoError(t, dog.leash.Close()) // the kernel does this when the process dies
	select {
	case err := <-ended:
		require.ErrorContains(t, err, "interrupt")
	case <-time.After(time.Minute):
		t.Fatal("the server lives on")
	}
	removed(t, files)
}

func TestWatchdog_ReleasedSendsNoSignal(t *testing.T) {
	t.Parallel()
	cmd, files, ended := sleeper(t) // stands for a process that got the server's process id later
	dog, err := watch(cmd.Process.Pid, files, true)
	require.NoError(t, err)
	dog.release()
	removed(t, files) // the watchdog has finished
	select {
	case err := <-ended:
		t.Fatalf("ended: %v", err)
	default:
	}
}
