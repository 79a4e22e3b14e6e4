package postgres

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// giveUp makes the kernel close a connection whose bytes stay unacknowledged for that long,
// instead of 15 minutes.
func giveUp(c syscall.RawConn, after time.Duration) error {
	var failed error
	if err := c.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(after.Milliseconds()))
	}); err != nil {
		return err
	}
	return failed
}
