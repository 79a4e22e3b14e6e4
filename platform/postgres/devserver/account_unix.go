//go:build unix

package devserver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"millrace/platform/errs"
)

const noSockets = false

// nobody is the user that the server runs as when this program runs as root,
// for PostgreSQL refuses root.
const nobody = 65534

// account is whom PostgreSQL's programs run as. other says that it is not us.
type account struct {
	uid, gid int
	other    bool
}

func serverUser() account {
	if os.Geteuid() != 0 {
		return account{uid: os.Geteuid(), gid: os.Getegid()}
	}
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

// canReach reports the first folder on the way to dir, and dir itself, that the
// account may not pass through.
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

// own gives path, and all below it, to the account. What it has already is left alone.
func (a account) own(path string) error {
	if !a.other {
		return nil
	}
	if info, err := os.Stat(path); err == nil {
		if owner, ok := info.Sys().(*syscall.Stat_t); ok && int(owner.Uid) == a.uid {
			return nil
		}
	}
	return filepath.WalkDir(path, func(at string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(at, a.uid, a.gid)
	})
}

// writeFile replaces a file of the account's.
func (a account) writeFile(path, text string) error {
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return err
	}
	if !a.other {
		return nil
	}
	return os.Lchown(path, a.uid, a.gid)
}

// copyTree copies a cluster; symbolic links do not occur in an empty one.
func (a account) copyTree(from, to string) error {
	return filepath.WalkDir(from, func(at string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, at)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		switch {
		case entry.IsDir():
			err = os.Mkdir(target, 0o700)
		case entry.Type().IsRegular():
			err = copyFile(at, target)
		default:
			err = fmt.Errorf("%s is neither a file nor a folder", at)
		}
		if err != nil || !a.other {
			return err
		}
		return os.Lchown(target, a.uid, a.gid)
	})
}

// command prepares one of PostgreSQL's programs, run by the account, in a
// session of its own so that Ctrl-C in a terminal is ours to handle.
func (a account) command(ctx context.Context, found programs, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(found.dir, name), args...)
	cmd.Dir = "/" // the account may not be allowed where we are
	cmd.Env = append(os.Environ(), "LC_ALL=C", "LC_MESSAGES=C", "TZ=UTC")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if a.other {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
	}
	dieWithUs(cmd.SysProcAttr)
	return cmd
}

// interrupt asks a postmaster for a fast shutdown: clients are disconnected,
// everything is written.
func interrupt(pid int) error { return syscall.Kill(pid, syscall.SIGINT) }

// abort asks for an immediate shutdown: the next start recovers.
func abort(pid int) error { return syscall.Kill(pid, syscall.SIGQUIT) }

func alive(pid int) bool { //nolint:unused // on the systems of process_unix.go
	err := syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}
