//go:build unix && !linux

package devserver

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

const kernelEndsServer = false

// dieWithUs does nothing: this system has no parent-death signal; the watchdog does it.
func dieWithUs(*syscall.SysProcAttr) {}

func attach(*os.Process) {}

// serves reports whether the process is the postmaster of that cluster. It checks the
// command line, because process ids are reused.
func serves(pid int, cluster string) bool {
	if !alive(pid) {
		return false
	}
	line, err := exec.Command("ps", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && strings.Contains(string(line), cluster)
}
