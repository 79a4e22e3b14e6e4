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

// dieWithUs does nothing: this system has no such wish, and a watchdog does it.
func dieWithUs(*syscall.SysProcAttr) {}

func attach(*os.Process) {}

// serves says whether the process is the postmaster of that cluster, by its
// command line, for numbers are used again.
func serves(pid int, cluster string) bool {
	if !alive(pid) {
		return false
	}
	line, err := exec.Command("ps", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && strings.Contains(string(line), cluster)
}
