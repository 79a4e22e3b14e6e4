//go:build unix

package devserver

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// tryLock tries to lock an open file, without waiting. The kernel releases the lock when
// the process ends.
func tryLock(f *os.File) (bool, error) {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}

// release gives the lock up. Closing the file is not enough: a child process that has
// just been forked holds a copy of it, and with that the lock, until it executes its
// program.
func release(f *os.File) error { return unix.Flock(int(f.Fd()), unix.LOCK_UN) }
