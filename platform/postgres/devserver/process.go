package devserver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"millrace/platform/errs"
)

// process is a child process.
type process struct {
	pid  int
	done chan struct{} // closed when the process has ended
}

// startProcess starts cmd from an OS thread that lives as long as the child. On Linux the
// kernel signals a child when its parent dies, and the "parent" is the thread that
// forked it. The Go runtime ends a thread when a goroutine that is locked to it returns.
//
// If the watchdog cannot be started, the child is killed.
func startProcess(cmd *exec.Cmd, files layout, ephemeral bool) (*process, error) {
	p := &process{done: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		attach(cmd.Process)
		dog, err := watch(cmd.Process.Pid, files, ephemeral)
		if err != nil {
			_ = cmd.Process.Kill() // report the watchdog's error
		}
		started <- err
		_ = cmd.Wait() // the server's log shows why it ended
		dog.release()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	p.pid = cmd.Process.Pid
	return p, nil
}

// passedOn are the variables that PostgreSQL's programs need: paths of programs,
// libraries, time zones, locales and temporary files.
var passedOn = []string{
	"PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH", "LOCPATH", "LOCALE_ARCHIVE", "TZDIR", "TMPDIR",
	"TEMP", "TMP", "SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "COMSPEC", "PATHEXT",
}

// environment is the environment of PostgreSQL's programs: the variables in passedOn, and
// a fixed language and time zone. Nothing else is passed on, because every process of
// the server's user can read it, and libpq's variables are about other servers.
func environment() []string {
	passed := slices.DeleteFunc(os.Environ(), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return !slices.Contains(passedOn, strings.ToUpper(name))
	})
	return append(passed, "LC_ALL=C", "LC_MESSAGES=C", "TZ=UTC")
}

// keepingThread calls run, which starts a program and waits for it, on an OS thread that
// is not used otherwise meanwhile. If that thread ended, the kernel would signal the
// program, see startProcess.
func keepingThread(run func() ([]byte, error)) ([]byte, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return run()
}

// end asks the process to stop. If it has not stopped after patience, end aborts it.
func (p *process) end(patience time.Duration) error {
	for _, ask := range []func(int) error{interrupt, abort} {
		if err := ask(p.pid); err != nil {
			select {
			case <-p.done:
				return nil
			default:
				return fmt.Errorf("stop PostgreSQL (process %d): %w", p.pid, err)
			}
		}
		select {
		case <-p.done:
			return nil
		case <-time.After(patience):
		}
	}
	return errs.New(errs.Resource, "PostgreSQL (process %d) does not stop", p.pid)
}

// endEarlier waits until a server of an earlier run has ended: after kill −9 of the
// program the kernel asks it to shut down, which takes a moment. A server that does not
// end within a second is asked again. The caller must hold the folder's lock, so that no
// other process uses the server.
func endEarlier(ctx context.Context, dir *os.Root, who account, log *slog.Logger) error {
	pid := earlierPID(dir, who)
	if pid == 0 {
		return removePID(dir, who)
	}
	cluster := filepath.Join(dir.Name(), clusterName)
	log.Info("waiting for the database server of an earlier run to end", "process", pid)
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	begun, asked := time.Now(), 0
	for serves(pid, cluster) {
		switch waited := time.Since(begun); {
		case asked == 0 && waited > time.Second:
			_ = interrupt(pid) // an error means that it has ended
			asked++
		case asked == 1 && waited > 20*time.Second:
			_ = abort(pid) // see above
			asked++
		case waited > 40*time.Second:
			return errs.New(errs.Resource, "the database server of an earlier run (process %d, %s) does not end: end it by hand", pid, cluster)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-look.C:
		}
	}
	return nil
}

// pidName is the file in the cluster with the server's process id.
const pidName = "postmaster.pid"

// removePID removes the pid file of a server that no longer runs.
func removePID(dir *os.Root, who account) error {
	cluster, err := who.openCluster(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer cluster.Close() //nolint:errcheck // nothing is buffered in it
	if err := cluster.Remove(pidName); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// earlierPID returns the id of the process that serves the cluster, or 0.
func earlierPID(dir *os.Root, who account) int {
	cluster, err := who.openCluster(dir)
	if err != nil {
		return 0 // see below
	}
	defer cluster.Close() //nolint:errcheck // nothing is buffered in it
	text, err := readFile(cluster, pidName)
	if err != nil {
		return 0 // no server runs; if the file cannot be read, the server will report it
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil || !serves(pid, cluster.Name()) {
		return 0
	}
	return pid
}
