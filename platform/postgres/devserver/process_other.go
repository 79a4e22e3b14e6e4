//go:build !linux

package devserver

// DieWithParent makes the kernel send SIGTERM to this process when the process that
// started it dies. It does nothing on this system.
func DieWithParent() {}

// DieWithGoRun is DieWithParent if `go run` started this process. It does nothing on this
// system.
func DieWithGoRun() {}
