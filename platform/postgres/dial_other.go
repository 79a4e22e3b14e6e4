//go:build !linux

package postgres

import (
	"syscall"
	"time"
)

// giveUp does nothing on systems without TCP_USER_TIMEOUT, where only keep-alives end a
// dead connection.
func giveUp(syscall.RawConn, time.Duration) error { return nil }
