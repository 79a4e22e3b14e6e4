//go:build !linux

package postgres

import (
	"syscall"
	"time"
)

// giveUp does nothing where TCP_USER_TIMEOUT is not to be had: there the
// keep-alives end a dead connection.
func giveUp(syscall.RawConn, time.Duration) error { return nil }
