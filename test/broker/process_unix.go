//go:build unix

package broker

import (
	"os"
	"os/exec"
	"syscall"
)

func terminate(p *os.Process) error { return p.Signal(syscall.SIGTERM) }
func thaw(p *os.Process) error      { return p.Signal(syscall.SIGCONT) }

// watch sets a small shell on the folder that outlives us: when we are gone,
// however we went, it kills the brokers whose pid files it finds, and removes
// the folder. It notices because its standard input ends with us. What is
// returned tells it that there is nothing left to do.
func watch(dir string) (release func(), err error) {
	const script = `read -r word
[ "$word" != gone ] || exit 0
for pid in "$0"/*/pid; do [ ! -f "$pid" ] || kill -KILL "$(cat "$pid")"; done
n=0
while [ $n -lt 50 ]; do
  alive=
  for pid in "$0"/*/pid; do [ ! -f "$pid" ] || ! kill -0 "$(cat "$pid")" || alive=yes; done
  [ -n "$alive" ] || break
  sleep 0.1; n=$((n+1))
done
rm -rf "$0"`
	theirs, leash, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer theirs.Close() //nolint:errcheck // the shell has its own
	shell := exec.Command("/bin/sh", "-c", script, dir)
	shell.Dir, shell.Stdin = "/", theirs
	shell.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := shell.Start(); err != nil {
		_ = leash.Close() // the first error is the one to tell
		return nil, err
	}
	return func() {
		_, _ = leash.WriteString("gone\n") // if the shell was killed there is nobody to tell
		_ = leash.Close()                  // as above
		_ = shell.Wait()                   // likewise
	}, nil
}
