//go:build unix && !linux

package broker

import (
	"context"
	"os"
	"os/exec"
	"syscall"
)

// startChild starts a process in its own process group, so that Ctrl-C in the terminal
// does not reach it. The watchdog kills it when this process ends.
func startChild(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd.Start()
}

func freeze(_ context.Context, p *os.Process) error { return p.Signal(syscall.SIGSTOP) }
