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

type birth struct {
	cmd *exec.Cmd
	err chan error
}

// births starts processes from one thread that lives as long as we do: the
// kernel takes the death of the thread that started a process for its parent's.
var births = sync.OnceValue(func() chan<- birth {
	requests := make(chan birth)
	go func() {
		runtime.LockOSThread()
		for request := range requests {
			request.err <- request.cmd.Start()
		}
	}()
	return requests
})

// startChild starts a process that dies with us, and that a Ctrl-C at our
// terminal does not reach.
func startChild(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	births() <- birth{cmd, started}
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
