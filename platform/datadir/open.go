package datadir

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"millrace/platform/errs"
)

// WARNING: a data folder may be in a place where another user can, at any time,
// put a link where this program is about to open something; root works in
// folders of other users. So each folder is opened once, as an os.Root; the
// checks use the opened folder and not its path; and no name below it may be a
// link.

// refusal is the error for a folder that others may have prepared.
type refusal string

func (r refusal) Error() string { return string(r) }

// Open opens a data folder and creates it, with missing parents. It may be a
// symbolic link that root or the current user created. A folder of another user
// is refused, unless the current user is root. A folder that others may write
// to is refused.
func Open(dir string, mode fs.FileMode) (*os.Root, error) {
	root, err := open(dir, mode)
	if err != nil {
		return nil, err
	}
	return checked(root, nil)
}

// OpenIn is Open for a folder in an open one; it may not be a link.
func OpenIn(above *os.Root, name string, mode fs.FileMode) (*os.Root, error) {
	root, err := openIn(above, name, mode)
	if err != nil {
		return nil, err
	}
	return checked(root, above)
}

// OpenBelow opens the data folder dir, and the folder called name in it.
func OpenBelow(dir, name string, mode fs.FileMode) (*os.Root, error) {
	above, err := Open(dir, 0o700)
	if err != nil {
		return nil, err
	}
	defer above.Close() //nolint:errcheck // nothing is buffered in it
	return OpenIn(above, name, mode)
}

// OpenAny is Open without the check of owner and mode: the operator is
// responsible for what is in it.
func OpenAny(dir string, mode fs.FileMode) (*os.Root, error) { return open(dir, mode) }

// checked returns the folder if check accepts it, else closes it.
func checked(dir, above *os.Root) (*os.Root, error) {
	if err := check(dir, above); err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	return dir, nil
}

func open(dir string, mode fs.FileMode) (*os.Root, error) {
	info, err := os.Lstat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if filepath.Dir(dir) == dir {
			return nil, err
		}
		above, err := open(filepath.Dir(dir), mode)
		if err != nil {
			return nil, err
		}
		defer above.Close() //nolint:errcheck // nothing is buffered in it
		return openIn(above, filepath.Base(dir), mode)
	case err != nil:
		return nil, err
	case info.Mode()&fs.ModeSymlink != 0:
		if err := checkLink(dir, info); err != nil {
			return nil, err
		}
		if info, err = os.Stat(dir); err != nil {
			return nil, err
		}
	default:
		awaitMode(os.Lstat, dir)
	}
	return openSame(info, dir, os.OpenRoot, dir)
}

func openIn(above *os.Root, name string, mode fs.FileMode) (*os.Root, error) {
	path := filepath.Join(above.Name(), name)
	err := above.Mkdir(name, mode)
	if err == nil {
		err = setModeAndOwner(above, name, mode)
	} else if errors.Is(err, fs.ErrExist) {
		err = nil
		awaitMode(above.Lstat, name)
	}
	if err != nil {
		return nil, &fs.PathError{Op: "make folder", Path: path, Err: cause(err)}
	}
	info, err := above.Lstat(name)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: cause(err)}
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		return nil, linkBelow(path)
	}
	return openSame(info, path, above.OpenRoot, name)
}

// openSame opens a folder and returns an error if it is not the one that info
// describes. The caller gets info first, because opening a pipe blocks.
func openSame(info fs.FileInfo, path string, open func(name string) (*os.Root, error), name string) (*os.Root, error) {
	if !info.IsDir() {
		return nil, &fs.PathError{Op: "open", Path: path, Err: syscall.ENOTDIR}
	}
	dir, err := open(name)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: cause(err)}
	}
	opened, err := dir.Stat(".")
	if err == nil && !os.SameFile(info, opened) {
		err = refusal(path + " was replaced while it was opened")
	}
	if err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	return dir, nil
}

// cause returns the system's error: an error of os.Root contains only the last
// element of a path.
func cause(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}

func linkBelow(path string) error {
	return refusal(path + " is a symbolic link, which is not followed in a data folder, for others may have put it there: remove it")
}

// OpenFileIn opens a file in an open folder. It refuses links, names that lead
// out of the folder, and files with several hard links, because a user may have
// linked another user's file into the folder. Opening a named pipe does not
// block.
func OpenFileIn(dir *os.Root, name string, flag int) (*os.File, error) {
	path := filepath.Join(dir.Name(), name)
	if info, err := dir.Lstat(name); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		return nil, linkBelow(path)
	}
	f, err := dir.OpenFile(name, flag|nonBlocking, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	var named fs.FileInfo
	if err == nil {
		named, err = dir.Lstat(name)
	}
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = &fs.PathError{Op: "open", Path: path, Err: errors.New("it is not a file")}
	case !os.SameFile(info, named):
		err = refusal(path + " was replaced while it was opened")
	case hardLinks(info) != 1:
		err = &fs.PathError{Op: "open", Path: path, Err: ErrOtherName}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// ErrOtherName is wrapped by the error for a file with several hard links.
var ErrOtherName = errors.New("it has another name (a hard link), and may be another user's: remove it")

// ReadFileIn opens a file as OpenFileIn does and reads it, up to a limit of
// most bytes, because another user may have written it.
func ReadFileIn(dir *os.Root, name string, most int64) ([]byte, error) {
	f, err := OpenFileIn(dir, name, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	return io.ReadAll(io.LimitReader(f, most))
}

// ReadFile is ReadFileIn for a path in a data folder, which is not created.
func ReadFile(path string, most int64) ([]byte, error) {
	dir, err := openThere(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer dir.Close() //nolint:errcheck // nothing is buffered in it
	return ReadFileIn(dir, filepath.Base(path), most)
}

// Remove removes a file in a data folder. A missing file is not an error.
func Remove(path string) error {
	dir, err := openThere(filepath.Dir(path))
	if err == nil {
		defer dir.Close() //nolint:errcheck // nothing is buffered in it
		err = dir.Remove(filepath.Base(path))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// RemoveAll removes a file or a folder with its contents from a data folder. Of
// a link it removes only the link.
func RemoveAll(path string) error {
	dir, err := openThere(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close() //nolint:errcheck // nothing is buffered in it
	return dir.RemoveAll(filepath.Base(path))
}

// openThere is Open for a folder that must exist.
func openThere(dir string) (*os.Root, error) {
	if _, err := os.Stat(dir); err != nil {
		return nil, err
	}
	return Open(dir, 0o700)
}

// TryIn writes a small file to the open folder and removes it. It finds a full
// disk, which still accepts an empty file.
func TryIn(dir *os.Root) (err error) {
	name := ".probe-" + rand.Text()
	probe, err := dir.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return &fs.PathError{Op: "open", Path: filepath.Join(dir.Name(), name), Err: cause(err)}
	}
	defer func() { err = errors.Join(err, probe.Close(), dir.Remove(name)) }()
	_, err = probe.Write(make([]byte, 64<<10))
	return err
}

// PrepareBelow is Prepare for the folder called name in a data folder.
func PrepareBelow(dir, name, setting string, mode fs.FileMode) error {
	root, err := OpenBelow(dir, name, mode)
	return prepared(root, err, filepath.Join(dir, name), setting)
}

// PrepareAny is Prepare for a folder that is opened with OpenAny.
func PrepareAny(dir, setting string, mode fs.FileMode) error {
	root, err := OpenAny(dir, mode)
	return prepared(root, err, dir, setting)
}

// prepared returns an error if the folder could not be opened or written to,
// and closes it.
func prepared(dir *os.Root, err error, path, setting string) error {
	if err == nil {
		err = errors.Join(TryIn(dir), dir.Close())
	}
	return Explain(err, path, setting)
}

// refused returns an error that names the setting if err is a refusal, else
// nil.
func refused(err error, setting string) error {
	var why refusal
	if errors.As(err, &why) {
		return errs.InvalidField(setting, "%s", fmt.Sprintf("%s, or name another folder", string(why)))
	}
	return nil
}
