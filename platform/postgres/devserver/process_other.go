//go:build !linux

package devserver

// DieWithParent makes the kernel send this process a SIGTERM when the process
// that started it dies, even by kill −9. It does nothing on this system.
func DieWithParent() {}

// DieWithGoRun is DieWithParent if `go run` started this process. It does
// nothing on this system.
func DieWithGoRun() {}
