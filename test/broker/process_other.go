//go:build unix && !linux

package broker

import (
	"context"
	"os"
	"os/exec"
	"syscall"
)

// startChild starts a process that a Ctrl-C at our terminal does not reach.
// That it dies with us is the watchdog's business.
func startChild(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd.Start()
}

func freeze(_ context.Context, p *os.Process) error { return p.Signal(syscall.SIGSTOP) }
