//go:build unix

package privatedir

import (
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
)

// userCache returns the folder in which Cache creates the program's own.
func userCache() (string, error) {
	if os.Geteuid() != 0 || os.Getenv("XDG_CACHE_HOME") != "" {
		return os.UserCacheDir()
	}
	if runtime.GOOS == "darwin" {
		return "/Library/Caches", nil
	}
	return "/var/cache", nil
}

// checkOwner refuses a folder that others own, can write to, or can replace
// through a folder above it. The root of the file system is not checked: its
// owner controls the machine.
func checkOwner(dir string, info fs.FileInfo) error {
	if owner := ownerOf(info); owner != os.Geteuid() {
		return refuse(dir, "it belongs to user %d, not to user %d", owner, os.Geteuid())
	}
	if info.Mode().Perm()&0o022 != 0 {
		return refuse(dir, "its mode %04o lets others write to it", info.Mode().Perm())
	}
	for above := filepath.Dir(dir); above != filepath.Dir(above); above = filepath.Dir(above) {
		info, err := os.Lstat(above)
		if err != nil {
			return err
		}
		if owner := ownerOf(info); owner != os.Geteuid() && owner != 0 {
			return refuse(dir, "%s belongs to user %d", above, owner)
		}
		open := info.Mode().Perm() & 0o022
		if open == 0o020 && ownGroup(info) {
			open = 0
		}
		if open != 0 && info.Mode()&fs.ModeSticky == 0 {
			return refuse(dir, "the mode %04o of %s lets others replace it", info.Mode().Perm(), above)
		}
	}
	return nil
}

func ownerOf(info fs.FileInfo) int {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(stat.Uid)
	}
	return -1
}

// ownGroup reports whether the folder's group has, by convention, only the
// current user as a member: the group has the user's name. Such systems use the
// umask 002.
func ownGroup(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(stat.Gid) != os.Getegid() {
		return false
	}
	current, err := user.Current()
	if err != nil {
		return false
	}
	group, err := user.LookupGroupId(strconv.Itoa(int(stat.Gid)))
	return err == nil && group.Name == current.Username
}
