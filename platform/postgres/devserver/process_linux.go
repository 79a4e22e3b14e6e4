package devserver

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const kernelEndsServer = true

// dieWithUs makes the kernel ask the server to shut down when this process dies.
func dieWithUs(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGINT }

func attach(*os.Process) {}

// serves reports whether the process is the postmaster of that cluster: its working
// directory must be the cluster, because process ids are reused.
func serves(pid int, cluster string) bool {
	at, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "cwd"))
	if err != nil {
		return false
	}
	if real, err := filepath.EvalSymlinks(cluster); err == nil {
		cluster = real
	}
	return at == cluster
}

// DieWithParent makes the kernel send SIGTERM to this process when the process that
// started it dies, even by kill −9. It does nothing on other systems.
func DieWithParent() {
	done := make(chan struct{})
	go func() {
		runtime.LockOSThread()                                                   // the setting belongs to this thread, which must not end before the process
		_ = unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(syscall.SIGTERM), 0, 0, 0) // never fails for a valid signal
		close(done)
		select {}
	}()
	<-done
}

// DieWithGoRun is DieWithParent if `go run` started this process, because a user who kills
// `go run` wants to end the program. Otherwise it does nothing, because a program may
// outlive its shell.
func DieWithGoRun() {
	path, err := os.Executable()
	if err == nil && strings.Contains(path, string(filepath.Separator)+"go-build") {
		DieWithParent()
	}
}
