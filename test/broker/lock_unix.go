//go:build unix

package broker

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// tryLock takes the lock on an open file, without waiting.
func tryLock(f *os.File) (bool, error) {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, unix.EINTR) {
		return false, nil
	}
	return err == nil, err
}

// release gives the lock up. Closing the file is not enough: a child process that has
// just been forked holds a copy of it until it executes its program.
func release(f *os.File) { _ = unix.Flock(int(f.Fd()), unix.LOCK_UN) }
