// Package privatedir creates folders that no other user of the machine can
// write to. They hold files that the program trusts later: programs to run,
// archives to unpack, database clusters to copy.
//
// A folder is refused and left unchanged if it is a symbolic link, belongs to
// another user, can be written to by others, or is in a folder where others
// could replace it. Its mode is 0700. For root it is 0711, because PostgreSQL
// then runs as another user, who must be able to enter, but not to list or
// write. On Windows only links are refused, because a user's own folders
// inherit their rights there.
package privatedir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// ErrRefused is wrapped by the error for an existing folder that is refused.
var ErrRefused = errors.New("folder is not private")

// Cache creates a folder for files that are kept between runs, and returns its
// path. It is below millrace in the user's cache folder (os.UserCacheDir). For
// root without XDG_CACHE_HOME it is in the system's cache folder, because other
// users cannot enter root's home. If there is no cache folder or it cannot be
// written, as in a container without a home, it is below millrace-UID in the
// system's folder for temporary files. The same checks apply everywhere.
func Cache(name string) (string, error) {
	base, err := userCache()
	if err == nil {
		base, err = Make(filepath.Join(base, "millrace"))
		if errors.Is(err, ErrRefused) {
			return "", err
		}
	}
	if err != nil {
		if base, err = Make(PerUser(os.TempDir(), "millrace")); err != nil {
			return "", err
		}
	}
	return Make(filepath.Join(base, name))
}

// PerUser returns the path of a folder below base whose name contains the
// user's ID. WARNING: any user can create that name first, so pass it to
// [Make], which checks it.
func PerUser(base, name string) string {
	return filepath.Join(base, name+"-"+strconv.Itoa(os.Getuid()))
}

// Make creates the folder if it is missing, checks it, and returns its path
// with the links in its parents resolved. Callers must use that path. It
// removes read access of others.
func Make(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(dir), parentMode()); err != nil {
		return "", err
	}
	parent, err := filepath.EvalSymlinks(filepath.Dir(dir))
	if err != nil {
		return "", err
	}
	dir = filepath.Join(parent, filepath.Base(dir))
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return "", err
	}
	if !info.IsDir() {
		return "", refuse(dir, "it is a symbolic link or a file")
	}
	if err := checkOwner(dir, info); err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, mode())
}

// Temp creates a new folder in base with an unpredictable name that begins with
// name. base may be writable by everybody. The caller removes the folder.
func Temp(base, name string) (string, error) {
	dir, err := os.MkdirTemp(base, name)
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, mode())
}

func mode() os.FileMode {
	if os.Geteuid() == 0 {
		return 0o711
	}
	return 0o700
}

func parentMode() os.FileMode {
	if os.Geteuid() == 0 {
		return 0o755
	}
	return 0o700
}

func refuse(dir, format string, args ...any) error {
	return fmt.Errorf("use %s: %w: %s; remove it, or set XDG_CACHE_HOME and TMPDIR to folders that only you can write to",
		dir, ErrRefused, fmt.Sprintf(format, args...))
}
