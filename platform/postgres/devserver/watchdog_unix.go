//go:build unix

package devserver

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
)

// watchdog is a small shell that outlives us: when we are gone, however we
// went, it asks the server to shut down, and removes an ephemeral folder. It
// notices because its standard input ends with us.
type watchdog struct{ leash *os.File }

// watch sets a watchdog on the postmaster, if there is something for it to do.
func watch(pid int, files layout, ephemeral bool) (watchdog, error) {
	remove := ""
	if ephemeral {
		remove = files.dir
	}
	if kernelEndsServer && !ephemeral {
		return watchdog{}, nil
	}
	// $0 server, $1 its pid file, $2 folder to remove or nothing.
	const script = `read -r word
if [ "$word" != gone ]; then
  kill -INT "$0"; n=0
  while [ -e "$1" ] && kill -0 "$0" && [ $n -lt 300 ]; do sleep 0.1; n=$((n+1)); done
fi
[ -z "$2" ] || rm -rf "$2"`
	theirs, leash, err := os.Pipe()
	if err != nil {
		return watchdog{}, err
	}
	defer theirs.Close() //nolint:errcheck // the shell has its own
	shell := exec.Command("/bin/sh", "-c", script, strconv.Itoa(pid), filepath.Join(files.cluster, "postmaster.pid"), remove)
	shell.Dir = "/"
	shell.Stdin = theirs
	shell.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := shell.Start(); err != nil {
		_ = leash.Close() // the first error is the one to tell
		return watchdog{}, err
	}
	go shell.Wait() //nolint:errcheck // only so that it is no zombie when the server ends before us
	return watchdog{leash: leash}, nil
}

// release tells the watchdog that the server has ended.
func (w watchdog) release() {
	if w.leash == nil {
		return
	}
	_, _ = w.leash.WriteString("gone\n") // if the shell was killed there is nobody to tell
	_ = w.leash.Close()                  // as above
}
