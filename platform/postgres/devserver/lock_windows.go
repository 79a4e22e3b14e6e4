package devserver

import (
	"errors"
	"math"
	"os"

	"golang.org/x/sys/windows"
)

// tryLock tries to lock an open file, without waiting. The kernel releases the lock when
// the process ends. It locks a byte behind the text, so that others can still read the
// text.
func tryLock(f *os.File) (bool, error) {
	at := lockedByte()
	err := windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &at)
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) || errors.Is(err, windows.ERROR_IO_PENDING) {
		return false, nil
	}
	return err == nil, err
}

// release gives the lock up. See lock_unix.go.
func release(f *os.File) error {
	at := lockedByte()
	return windows.UnlockFileEx(windows.Handle(f.Fd()), 0, 1, 0, &at)
}

func lockedByte() windows.Overlapped { return windows.Overlapped{OffsetHigh: math.MaxInt32} }
