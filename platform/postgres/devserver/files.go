package devserver

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"millrace/platform/datadir"
)

// In this file root works in folders of another user, who may replace any name by a link
// at any time. Therefore:
//
//   - a folder is opened once, as an os.Root, so that no name leads out of it;
//   - only regular files with a single hard link are read;
//   - new files are created only where no file exists;
//   - what root creates for the other user is given away only when it is complete.

// place is the path of a folder that exists or will be created.
type place struct {
	dir  *os.Root
	name string
}

func (p place) path() string { return filepath.Join(p.dir.Name(), p.name) }

// make creates the folder with mode 0700, and opens it.
func (p place) make() (*os.Root, error) {
	if err := p.dir.Mkdir(p.name, 0o700); err != nil {
		return nil, err
	}
	return p.dir.OpenRoot(p.name)
}

// openCluster opens the cluster in dir. Root follows no link there; other users may keep
// the cluster on another disk.
func (a account) openCluster(dir *os.Root) (*os.Root, error) {
	if a.other {
		return place{dir, clusterName}.open()
	}
	return os.OpenRoot(filepath.Join(dir.Name(), clusterName))
}

// open opens the folder. It checks the type first, because opening a pipe would block.
func (p place) open() (*os.Root, error) {
	info, err := p.dir.Lstat(p.name)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, &fs.PathError{Op: "open", Path: p.path(), Err: errors.New("it is not a folder itself")}
	}
	return p.dir.OpenRoot(p.name)
}

// longestRead limits what is read from a file, in bytes. All files are short, but
// another user may write them.
const longestRead = 1 << 20

func readFile(dir *os.Root, name string) ([]byte, error) {
	return datadir.ReadFileIn(dir, name, longestRead)
}

// copyTree copies an empty cluster, which contains no links, for the account.
func (a account) copyTree(from, to place) (err error) {
	source, err := from.open()
	if err != nil {
		return err
	}
	defer source.Close() //nolint:errcheck // it was only read
	target, err := to.make()
	if err != nil {
		return err
	}
	defer target.Close() //nolint:errcheck // nothing is buffered in it
	err = fs.WalkDir(source.FS(), ".", func(at string, entry fs.DirEntry, err error) error {
		if err != nil || at == "." {
			return err
		}
		name := filepath.FromSlash(at)
		switch {
		case entry.IsDir():
			if err := target.Mkdir(name, 0o700); err != nil {
				return err
			}
			return a.give(target, name)
		case entry.Type().IsRegular():
			return a.copyFile(source, target, name)
		}
		return fmt.Errorf("%s is neither a file nor a folder", filepath.Join(source.Name(), name))
	})
	if err != nil {
		return err
	}
	return a.give(target, ".")
}

func (a account) copyFile(source, target *os.Root, name string) (err error) {
	in, err := datadir.OpenFileIn(source, name, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer in.Close() //nolint:errcheck // it was only read
	out, err := target.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return a.giveFile(out)
}

// give makes the account the owner of a file or folder. Only this process may write to dir.
func (a account) give(dir *os.Root, name string) (err error) {
	if !a.other {
		return nil
	}
	f, err := dir.Open(name)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it was not written to
	return a.giveFile(f)
}
