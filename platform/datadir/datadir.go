// Package datadir creates the folders in which the program stores data. If a
// folder cannot be written, it reports that once, at the start, with the
// folder, the reason and what to do.
//
// A program that runs as root for another user (sudo, a container with a
// mounted folder) must not leave files that the folder's owner cannot change.
// What this package creates, and what is passed to [Adopt], belongs to the
// owner of the surrounding folder. Folders that root creates can be entered but
// not listed by other users, whatever the umask, because PostgreSQL then runs
// as another user.
package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"millrace/platform/errs"
)

// Prepare creates the folder if it is missing, with its parents, opens it as
// Open does, and writes a test file into it. setting is the name of its
// configuration setting, for errors.
func Prepare(dir, setting string, mode fs.FileMode) error {
	root, err := Open(dir, mode)
	return prepared(root, err, dir, setting)
}

// Make creates the folder and its missing parents with the mode. Existing
// folders keep their mode and owner.
func Make(dir string, mode fs.FileMode) error {
	made, err := open(dir, mode)
	if err != nil {
		return err
	}
	return made.Close()
}

// Create creates an empty file that only its owner may read and opens it for
// appending. A file or link with the same name is removed first, without
// following the link.
func Create(path string) (*os.File, error) {
	dir, err := openThere(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer dir.Close() //nolint:errcheck // nothing is buffered in it
	return CreateIn(dir, filepath.Base(path))
}

// CreateIn is Create in an open folder.
func CreateIn(dir *os.Root, name string) (*os.File, error) {
	if err := dir.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	f, err := dir.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	if err := Adopt(f, dir); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// WriteFile replaces the file at path with a new one that only its owner may
// read. After a crash there is either the old or the new file, complete. Only
// one process may call it at a time.
func WriteFile(path string, data []byte) error {
	dir, err := openThere(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close() //nolint:errcheck // nothing is buffered in it
	return WriteFileIn(dir, filepath.Base(path), data)
}

// WriteFileIn is WriteFile in an open folder.
func WriteFileIn(dir *os.Root, name string, data []byte) error {
	f, err := CreateIn(dir, name+".new")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, dir.Remove(name+".new"))
	}
	return dir.Rename(name+".new", name)
}

// Try is TryIn for a path.
func Try(path string) error {
	dir, err := os.OpenRoot(path)
	if err != nil {
		return err
	}
	defer dir.Close() //nolint:errcheck // nothing is buffered in it
	return TryIn(dir)
}

// Explain adds to an error about the folder what the operator can do. Other
// errors are returned unchanged.
func Explain(err error, dir, setting string) error {
	at, info := nearest(dir)
	switch {
	case err == nil:
		return nil
	case refused(err, setting) != nil:
		return refused(err, setting)
	case Full(err.Error()):
		return errs.As(errs.Resource, fmt.Errorf("the disk that holds %s is full: free some space, or move the data with %s: %w", dir, setting, err))
	case errors.Is(err, syscall.EROFS):
		return errs.InvalidField(setting, "%s is on a file system that is mounted read-only (%s): mount it writable, or name another folder", dir, err)
	case errors.Is(err, syscall.ENAMETOOLONG):
		return errs.InvalidField(setting, "%.100s… is too long for a path (%d bytes): name another folder", dir, len(dir))
	case errors.Is(err, syscall.ELOOP):
		return errs.InvalidField(setting, "%s is a symbolic link that leads back to itself: correct the link, or name another folder", brokenLink(dir))
	case errors.Is(err, fs.ErrPermission) && info != nil:
		me, owner := userName(os.Geteuid()), ownerName(info)
		advice := "give it to " + me + " (chown), run this program as " + owner + ","
		if owner == me {
			advice = "let its owner write there (chmod u+rwx)"
		}
		return errs.InvalidField(setting, "%s cannot be written by %s: %s belongs to %s, mode %04o (%s); %s or name another folder",
			dir, me, at, owner, info.Mode().Perm(), err, advice)
	case info != nil && !info.IsDir():
		return errs.InvalidField(setting, "%s is not a folder: move it away, or name another folder", at)
	case errors.Is(err, fs.ErrNotExist) && brokenLink(dir) != "":
		return errs.InvalidField(setting, "%s is a symbolic link to something that does not exist: make that folder, correct the link, or name another folder", brokenLink(dir))
	}
	return err
}

// nearest returns the folder, or its nearest parent that can be read.
func nearest(dir string) (string, fs.FileInfo) {
	for {
		info, err := os.Stat(dir)
		above := filepath.Dir(dir)
		if err == nil || above == dir {
			return dir, info
		}
		dir = above
	}
}

// brokenLink returns the broken symbolic link on the path to dir, or "".
func brokenLink(dir string) string {
	for {
		if info, err := os.Lstat(dir); err == nil {
			if _, err := os.Stat(dir); err != nil && info.Mode()&fs.ModeSymlink != 0 {
				return dir
			}
			return ""
		}
		above := filepath.Dir(dir)
		if above == dir {
			return ""
		}
		dir = above
	}
}

// Full reports whether an error text of the system means that the disk or a
// quota is full.
func Full(text string) bool {
	text = strings.ToLower(text)
	return strings.Contains(text, "no space left on device") || strings.Contains(text, "quota exceeded") || strings.Contains(text, "not enough space on the disk")
}
