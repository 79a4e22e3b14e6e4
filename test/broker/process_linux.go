package broker

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// startRequest asks the starting thread to start a process.
type startRequest struct {
	cmd *exec.Cmd
	err chan error
}

// starter starts processes from one thread that never ends. Pdeathsig needs it: the
// kernel sends the signal when the thread that started the process ends.
var starter = sync.OnceValue(func() chan<- startRequest {
	requests := make(chan startRequest)
	go func() {
		runtime.LockOSThread()
		for request := range requests {
			request.err <- request.cmd.Start()
		}
	}()
	return requests
})

// startChild starts a process that the kernel kills when this process ends. It is in its
// own process group, so that Ctrl-C in the terminal does not reach it.
func startChild(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	starter() <- startRequest{cmd, started}
	return <-started
}

func freeze(ctx context.Context, p *os.Process) error {
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	tasks := filepath.Join("/proc", strconv.Itoa(p.Pid), "task", "*", "stat")
	return poll(ctx, 5*time.Millisecond, func() (bool, error) {
		stats, err := filepath.Glob(tasks)
		for _, one := range stats {
			stat, err := os.ReadFile(one)
			if err != nil {
				continue // the thread has ended
			}
			if _, state, ok := bytes.Cut(stat, []byte(") ")); !ok || state[0] != 'T' {
				return false, nil
			}
		}
		return true, err
	})
}
