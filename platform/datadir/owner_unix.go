//go:build unix

package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"syscall"
	"time"
)

// Owner returns the user and group that own a file; ok is false if they are
// unknown.
func Owner(info fs.FileInfo) (uid, gid int, ok bool) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, false
	}
	return int(stat.Uid), int(stat.Gid), true
}

// Adopt gives a file or folder that root created in an open folder to that
// folder's owner. It uses the open folder, not its path, which may lead
// elsewhere by then. It does nothing for other users.
func Adopt(f *os.File, in *os.Root) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := in.Stat(".")
	if err != nil {
		return err
	}
	uid, gid, ok := Owner(info)
	if !ok || uid == 0 {
		return nil
	}
	return f.Chown(uid, gid)
}

// checkLink refuses a symbolic link in place of a data folder, unless root or
// the current user created it.
func checkLink(path string, link fs.FileInfo) error {
	if uid, _, ok := Owner(link); ok && (uid == 0 || uid == os.Geteuid()) {
		return nil
	}
	return refusal(fmt.Sprintf("%s is a symbolic link of %s, which %s does not follow: remove it", path, ownerName(link), userName(os.Geteuid())))
}

// check refuses an open data folder that another user may have prepared. above
// is the data folder around it, or nil. Root acts for the folder's owner:
// everything in that owner's folder must belong to the same owner. A data
// folder of root's may be writable by others, because orchestrators create
// volumes so; but what is in it must belong to the current user.
func check(dir, above *os.Root) error {
	info, err := dir.Stat(".")
	if err != nil {
		return err
	}
	uid, _, known := Owner(info)
	if !known {
		return nil
	}
	foreign := uid != 0 && uid != os.Geteuid()
	if foreign && os.Geteuid() == 0 {
		foreign = false
		if above != nil {
			around, err := above.Stat(".")
			if err != nil {
				return err
			}
			owner, _, _ := Owner(around)
			foreign = owner != 0 && owner != uid
		}
	}
	if foreign {
		return refusal(fmt.Sprintf("%s belongs to %s, who could change what this program (%s) keeps there: give it to that user (chown)",
			dir.Name(), ownerName(info), userName(os.Geteuid())))
	}
	if above == nil && uid == 0 && os.Geteuid() != 0 { // orchestrators create volumes for an unnamed user like this: 0777, or 2775
		return nil
	}
	if open := info.Mode().Perm() & 0o022; open != 0 && (open != 0o020 || !ownGroup(info)) {
		return refusal(fmt.Sprintf("%s (mode %04o) lets other users write to it, who could change what this program keeps there: close it (chmod go-w), name a folder in it that is not there yet",
			dir.Name(), info.Mode().Perm()))
	}
	return nil
}

// ownGroup reports whether a folder's group has, by convention, only its owner
// as a member: the group has the owner's name. Such systems use the umask 002.
func ownGroup(info fs.FileInfo) bool {
	uid, gid, ok := Owner(info)
	if !ok {
		return false
	}
	owner, err := user.LookupId(strconv.Itoa(uid))
	if err != nil {
		return false
	}
	group, err := user.LookupGroupId(strconv.Itoa(gid))
	return err == nil && group.Name == owner.Username
}

// hardLinks returns the number of hard links of a file.
func hardLinks(info fs.FileInfo) int {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(stat.Nlink)
	}
	return 0
}

// nonBlocking makes opening a named pipe return at once.
const nonBlocking = syscall.O_NONBLOCK

// setModeAndOwner sets mode and owner of a folder that was just created.
func setModeAndOwner(above *os.Root, name string, mode fs.FileMode) error {
	if os.Geteuid() != 0 {
		return nil // the user's umask decides
	}
	made, err := above.Open(name)
	if err != nil {
		return err
	}
	defer made.Close() //nolint:errcheck // it was not written to
	info, err := made.Stat()
	if err != nil {
		return err
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); !ok || !info.IsDir() || stat.Uid != 0 {
		return &fs.PathError{Op: "make folder", Path: made.Name(), Err: fs.ErrExist} // replaced by another
	}
	return errors.Join(made.Chmod(mode|0o111), Adopt(made, above))
}

// awaitMode waits up to a second for another process of root that has
// created the folder and has not set its mode yet; else the caller would find
// that PostgreSQL's user may not enter. A folder that a user created with such
// a mode costs that second once.
func awaitMode(look func(name string) (fs.FileInfo, error), name string) {
	const moment = time.Second
	for deadline := time.Now().Add(moment); os.Geteuid() == 0 && time.Now().Before(deadline); <-time.After(5 * time.Millisecond) {
		info, err := look(name)
		if err != nil || !info.IsDir() || info.Mode().Perm()&0o111 == 0o111 || time.Since(info.ModTime()) > moment {
			return
		}
	}
}

func userName(uid int) string {
	if known, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return "user " + known.Username
	}
	return "user " + strconv.Itoa(uid)
}

func ownerName(info fs.FileInfo) string {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return userName(int(stat.Uid))
	}
	return "another user"
}
