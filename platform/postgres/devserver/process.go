package devserver

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"millrace/platform/errs"
)

// process is a child whose end can be waited for.
type process struct {
	pid  int
	done chan struct{} // closed when it ended
}

// startProcess starts cmd from a thread that lives as long as the child: where
// the kernel ends a child with its parent (Linux), "parent" is the thread that
// forked it, and the Go runtime ends a thread when a goroutine that was locked
// to it returns.
//
// A watchdog that cannot be set ends the server again.
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
			_ = cmd.Process.Kill() // the error is the one to tell
		}
		started <- err
		_ = cmd.Wait() // how it ended is in the server's log
		dog.release()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	p.pid = cmd.Process.Pid
	return p, nil
}

// keepingThread calls run, which starts a program and waits for its end, on a
// thread that nobody else gets meanwhile, for the reason that startProcess gives:
// a server that ends beside it would take the thread along, and so the program.
func keepingThread(run func() ([]byte, error)) ([]byte, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return run()
}

// end asks the process to stop, and after the patience makes it.
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

// endEarlier waits for a server that an earlier run left on the cluster: after
// a kill −9 of the program the kernel asks it to shut down, and that takes a
// moment. One that was not asked (no such kernel) is asked now. The caller
// holds the folder's lock, so nobody else is using it.
func endEarlier(ctx context.Context, cluster string, log *slog.Logger) error {
	pid := earlierPID(cluster)
	if pid == 0 {
		// Its process is gone, or the number belongs to another by now.
		if err := os.Remove(filepath.Join(cluster, "postmaster.pid")); err != nil && !os.IsNotExist(err) {
			return err
		}
		return nil
	}
	log.Info("waiting for the database server of an earlier run to end", "process", pid)
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	begun, asked := time.Now(), 0
	for serves(pid, cluster) {
		switch waited := time.Since(begun); {
		case asked == 0 && waited > time.Second:
			_ = interrupt(pid) // if it is gone by now, good
			asked++
		case asked == 1 && waited > 20*time.Second:
			_ = abort(pid) // as above
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

// earlierPID returns the process that serves the cluster, 0 if none does.
func earlierPID(cluster string) int {
	text, err := os.ReadFile(filepath.Join(cluster, "postmaster.pid"))
	if err != nil {
		return 0 // a clean folder; if it cannot be read, the server will say so
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil || !serves(pid, cluster) {
		return 0
	}
	return pid
}
