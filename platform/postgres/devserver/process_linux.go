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

// dieWithUs makes the kernel ask the server to shut down when we die, however
// we die.
func dieWithUs(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGINT }

func attach(*os.Process) {}

// serves says whether the process is the postmaster of that cluster: its
// working directory is the cluster. A number alone proves nothing, numbers are
// used again.
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

// DieWithParent makes the kernel send this process a SIGTERM when the process
// that started it dies, even by kill −9. It does nothing on other systems.
func DieWithParent() {
	done := make(chan struct{})
	go func() {
		runtime.LockOSThread()                                                   // the wish belongs to this thread, which must live as long as we do
		_ = unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(syscall.SIGTERM), 0, 0, 0) // it has no error for a valid signal
		close(done)
		select {}
	}()
	<-done
}

// DieWithGoRun is DieWithParent if `go run` started this process, for whoever
// kills `go run` means the program. It does nothing for a program that was
// started in any other way: that may outlive its shell.
func DieWithGoRun() {
	path, err := os.Executable()
	if err == nil && strings.Contains(path, string(filepath.Separator)+"go-build") {
		DieWithParent()
	}
}
