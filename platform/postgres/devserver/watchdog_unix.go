//go:build unix

package devserver

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
)

// watchdog is a small shell process that outlives this process. When its standard input
// ends, because this process died, it asks the server to shut down, and removes an
// ephemeral folder.
type watchdog struct{ leash *os.File }

// watch starts a watchdog for the postmaster, unless there is nothing for it to do.
func watch(pid int, files layout, ephemeral bool) (watchdog, error) {
	remove := ""
	if ephemeral {
		remove = files.dir
	}
	if kernelEndsServer && !ephemeral {
		return watchdog{}, nil
	}
	// $0 is the server's pid, $1 its pid file, $2 the folder to remove, or empty.
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
	defer theirs.Close() //nolint:errcheck // the shell has its own file descriptor
	shell := exec.Command("/bin/sh", "-c", script, strconv.Itoa(pid), filepath.Join(files.cluster, pidName), remove)
	shell.Dir = "/"
	shell.Env = environment()
	shell.Stdin = theirs
	shell.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := shell.Start(); err != nil {
		_ = leash.Close() // report the first error
		return watchdog{}, err
	}
	go shell.Wait() //nolint:errcheck // reaps the shell
	return watchdog{leash: leash}, nil
}

// release ends the watchdog after the server has ended.
func (w watchdog) release() {
	if w.leash == nil {
		return
	}
	_, _ = w.leash.WriteString("gone\n") // fails only if the shell was killed
	_ = w.leash.Close()                  // see above
}
