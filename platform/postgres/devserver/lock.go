package devserver

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"millrace/platform/errs"
)

// lockGrace is how long a start waits for a holder to go: one that was killed a
// moment ago still holds the lock while the kernel takes it apart.
const lockGrace = 500 * time.Millisecond

// lockDir makes this process the one user of a data folder, or says who is.
// The lock ends with the process, however it ends. The file stays.
func lockDir(path string, cfg Config) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, errs.InvalidField(cfg.Setting, "%s cannot be written: %s; choose a folder that can", cfg.DataDir, err)
	}
	mine, err := tryLock(f)
	for end := time.Now().Add(lockGrace); err == nil && !mine && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond) //nolint:forbidigo // nothing tells when a file lock is free
		mine, err = tryLock(f)
	}
	if err == nil && !mine {
		err = errs.InvalidField(cfg.Setting, "%s is already in use by %s: stop it, or give this one another folder", cfg.DataDir, holder(f))
	}
	if err == nil {
		err = sign(f)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// sign writes into the lock file who holds it.
func sign(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(fmt.Sprintf("process %d (%s)", os.Getpid(), filepath.Base(os.Args[0]))), 0)
	return err
}

func holder(f *os.File) string {
	text, err := io.ReadAll(io.NewSectionReader(f, 0, 1000))
	if err != nil || len(text) == 0 {
		return "another process"
	}
	return strings.TrimSpace(string(text))
}

// waitLock takes the lock on a file, waiting for as long as another has it.
func waitLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		mine, err := tryLock(f)
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		if mine {
			return f, nil
		}
		<-again.C
	}
}

// RemoveUnused removes a data folder, with all that is in it, unless a process
// holds it or its server is still ending. It is for folders that tests leave.
func RemoveUnused(dir string) {
	files := layoutOf(dir)
	f, err := os.OpenFile(files.lock, os.O_RDWR, 0)
	if err != nil {
		return
	}
	defer f.Close() //nolint:errcheck // releases the lock
	if mine, err := tryLock(f); err != nil || !mine || earlierPID(files.cluster) != 0 {
		return
	}
	if info, err := f.Stat(); err != nil || info.Size() == 0 {
		return // made a moment ago, and about to be locked and signed
	}
	_ = os.RemoveAll(dir) // what resists is tried again by the next
}
