package devserver

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"millrace/platform/datadir"
	"millrace/platform/errs"
)

// lockGrace is how long a start waits for a lock: a process that was just killed holds
// its locks until the kernel has cleaned up.
const lockGrace = 500 * time.Millisecond

// lockDir locks a data folder for this process, or returns an error that names the
// holder. The lock ends with the process, even if that is killed. The file stays.
func lockDir(dir *os.Root, cfg Config) (*os.File, error) {
	f, err := openLock(dir, lockName)
	if err != nil {
		return nil, err
	}
	mine, err := tryLock(f)
	for end := time.Now().Add(lockGrace); err == nil && !mine && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond) //nolint:forbidigo // there is no notification when a file lock becomes free
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

// openLock opens a lock file, and creates it if necessary.
func openLock(dir *os.Root, name string) (*os.File, error) {
	f, err := datadir.OpenFileIn(dir, name, os.O_CREATE|os.O_RDWR)
	if err != nil {
		return nil, err
	}
	if err := datadir.Adopt(f, dir); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// unlock gives up the lock on a file, and closes it.
func unlock(f *os.File) error { return errors.Join(release(f), f.Close()) }

// sign writes this process's name and id into the lock file.
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

// waitLock locks a file, and waits as long as another process holds the lock.
func waitLock(dir *os.Root, name string) (*os.File, error) {
	f, err := openLock(dir, name)
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

// RemoveUnused removes a data folder that tests left.
//
// WARNING: it deletes all data in the folder, unless a process holds the lock or the
// server is still ending.
func RemoveUnused(dir string) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return
	}
	defer root.Close() //nolint:errcheck // nothing is buffered in it
	f, err := datadir.OpenFileIn(root, lockName, os.O_RDWR)
	if err != nil {
		return
	}
	if mine, err := tryLock(f); err != nil || !mine {
		_ = f.Close() // nothing was written
		return
	}
	defer unlock(f) //nolint:errcheck // the file is removed, or stays as it is
	if earlierPID(root, serverUser(root)) != 0 {
		return
	}
	if info, err := f.Stat(); err != nil || info.Size() == 0 {
		return // just created; its process is about to lock and sign it
	}
	_ = os.RemoveAll(dir) // the next call tries again
}
