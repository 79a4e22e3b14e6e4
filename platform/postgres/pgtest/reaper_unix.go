//go:build unix

package pgtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// reap removes dir when this process is gone, however it went, and its server
// has ended. Go runs nothing at the end of a test process, so a shell of three
// commands waits for it: its standard input ends when we do.
func reap(dir string) error {
	const script = `cat; n=0; while [ -e "$1" ] && [ $n -lt 300 ]; do sleep 0.1; n=$((n+1)); done; rm -rf "$0"`
	theirs, held, err := os.Pipe()
	if err != nil {
		return err
	}
	defer theirs.Close() //nolint:errcheck // the shell has its own
	shell := exec.Command("/bin/sh", "-c", script, dir, filepath.Join(dir, "cluster", "postmaster.pid"))
	shell.Dir = "/"
	shell.Stdin = theirs
	shell.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := shell.Start(); err != nil {
		return err
	}
	lifeline = held
	return nil
}

// lifeline is open for as long as this process lives. A file that nothing
// refers to would be closed by the garbage collector.
var lifeline *os.File
