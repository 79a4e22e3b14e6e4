//go:build unix

package devserver

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"millrace/platform/datadir"
	"millrace/platform/errs"
)

const noSockets = false

// nobody is the server's user if this program runs as root in root's folder, because
// PostgreSQL refuses to run as root.
const nobody = 65534

// account is the user that runs PostgreSQL's programs. other is set if it is not this
// process's user.
type account struct {
	uid, gid int
	other    bool
}

// serverUser is this process's own user. For root it is the owner of the cluster, or
// else of the data folder, so that root does not change the owner of another user's
// data. If that owner is root, it is the user of anybody.
func serverUser(dir *os.Root) account {
	if os.Geteuid() != 0 {
		return account{uid: os.Geteuid(), gid: os.Getegid()}
	}
	for _, name := range []string{clusterName, "."} {
		if info, err := dir.Lstat(name); err == nil {
			if owner, ok := info.Sys().(*syscall.Stat_t); ok && owner.Uid != 0 {
				return account{uid: int(owner.Uid), gid: int(owner.Gid), other: true}
			}
		}
	}
	return anybody()
}

// anybody is the user "nobody", or its usual number if there is none.
func anybody() account {
	who := account{uid: nobody, gid: nobody, other: true}
	if known, err := user.Lookup("nobody"); err == nil {
		if uid, err := strconv.ParseUint(known.Uid, 10, 32); err == nil {
			who.uid = int(uid)
		}
		if gid, err := strconv.ParseUint(known.Gid, 10, 32); err == nil {
			who.gid = int(gid)
		}
	}
	return who
}

// canReach returns an error that names the first folder, from dir upwards, that the
// account may not enter.
func (a account) canReach(dir, setting string) error {
	if !a.other {
		return nil
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	for at := dir; ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		if err != nil {
			return err
		}
		if !a.passes(info) {
			return errs.InvalidField(setting, "%s (mode %04o) does not let user %d through, whom PostgreSQL runs as because it refuses to run as root: "+
				"choose a folder outside it, or run this program as another user", at, info.Mode().Perm(), a.uid)
		}
		if at == filepath.Dir(at) {
			return nil
		}
	}
}

func (a account) passes(info fs.FileInfo) bool {
	owner, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case ok && int(owner.Uid) == a.uid:
		return info.Mode()&0o100 != 0
	case ok && int(owner.Gid) == a.gid:
		return info.Mode()&0o010 != 0
	}
	return info.Mode()&0o001 != 0
}

// own makes the account the owner of the folder and everything in it. The folder itself
// comes last, so that the account cannot change it before. If the account already
// owns the folder, nothing is changed.
func (a account) own(at place) error {
	if !a.other {
		return nil
	}
	folder, err := at.open()
	if err != nil {
		return err
	}
	defer folder.Close() //nolint:errcheck // nothing is buffered in it
	itself, err := folder.Open(".")
	if err != nil {
		return err
	}
	defer itself.Close() //nolint:errcheck // opened only to change its owner
	info, err := itself.Stat()
	if err != nil {
		return err
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && int(owner.Uid) == a.uid {
		return nil
	}
	if err := itself.Chmod(0o700); err != nil {
		return err
	}
	if err := fs.WalkDir(folder.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if info.Mode().IsRegular() && names(info) != 1 {
			return &fs.PathError{Op: "chown", Path: filepath.Join(folder.Name(), name), Err: datadir.ErrOtherName}
		}
		return folder.Lchown(name, a.uid, a.gid)
	}); err != nil {
		return err
	}
	return a.giveFile(itself)
}

// giveFile makes the account the owner of an open file or folder.
func (a account) giveFile(f *os.File) error {
	if !a.other {
		return nil
	}
	return f.Chown(a.uid, a.gid)
}

// names is the number of a file's hard links.
func names(info fs.FileInfo) int {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(stat.Nlink)
	}
	return 0
}

// mayServe refuses a cluster of another owner, because PostgreSQL serves a cluster only
// for its owner. A cluster of root's is given to the account later. Root does not
// follow a link to a cluster: another user could make it lead to somebody else's.
func (a account) mayServe(dir *os.Root, setting string) error {
	cluster := filepath.Join(dir.Name(), clusterName)
	info, err := dir.Lstat(clusterName)
	if err != nil {
		return nil //nolint:nilerr // missing, or a later step reports why it cannot be opened
	}
	if a.other && info.Mode()&fs.ModeSymlink != 0 {
		return errs.InvalidField(setting, "%s is a symbolic link, which root does not follow: name the folder where the data shall be, or run this program as the owner of the data", cluster)
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		if info, err = os.Stat(cluster); err != nil {
			return nil //nolint:nilerr // as above
		}
	}
	uid, _, ok := datadir.Owner(info)
	if !ok || uid == a.uid || a.other && uid == 0 {
		return nil
	}
	return datadir.Explain(&fs.PathError{Op: "serve", Path: cluster, Err: fs.ErrPermission}, cluster, setting)
}

// command prepares one of PostgreSQL's programs, to be run by the account. It gets a
// session of its own, so that Ctrl-C in a terminal does not stop it.
func (a account) command(ctx context.Context, found programs, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(found.dir, name), args...)
	cmd.Dir = "/" // the account may not be allowed to enter the current folder
	cmd.Env = environment()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if a.other {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
	}
	dieWithUs(cmd.SysProcAttr)
	return cmd
}

// interrupt asks a postmaster for a fast shutdown: it disconnects clients and writes
// everything.
func interrupt(pid int) error { return syscall.Kill(pid, syscall.SIGINT) }

// abort asks a postmaster for an immediate shutdown; the next start recovers.
func abort(pid int) error { return syscall.Kill(pid, syscall.SIGQUIT) }

func alive(pid int) bool { //nolint:unused // used on the systems of process_unix.go
	err := syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}
