//go:build unix

package broker

import (
	"os"
	"os/exec"
	"syscall"
)

func terminate(p *os.Process) error { return p.Signal(syscall.SIGTERM) }
func thaw(p *os.Process) error      { return p.Signal(syscall.SIGCONT) }

// watch starts a shell that outlives this process. When this process ends, for any
// reason, the shell's standard input closes; the shell then kills the brokers whose pid
// files it finds, and removes the folder. release ends the shell without that.
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
	input, output, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer input.Close() //nolint:errcheck // the shell has its own descriptor
	shell := exec.Command("/bin/sh", "-c", script, dir)
	shell.Dir, shell.Stdin = "/", input
	shell.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := shell.Start(); err != nil {
		_ = output.Close() // the first error is returned
		return nil, err
	}
	return func() {
		_, _ = output.WriteString("gone\n") // fails if the shell was killed
		_ = output.Close()                  // as above
		_ = shell.Wait()                    // as above
	}, nil
}
