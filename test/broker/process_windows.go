package broker

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"syscall"
)

func startChild(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
	return cmd.Start()
}

// terminate kills the process: Windows has no signal for a clean shutdown.
func terminate(p *os.Process) error { return p.Kill() }

var errNotHere = errors.New("broker: Windows cannot freeze a process")

func freeze(context.Context, *os.Process) error { return errNotHere }
func thaw(*os.Process) error                    { return errNotHere }

// watch does nothing: a killed program leaves its brokers behind.
func watch(string) (release func(), err error) { return func() {}, nil }
