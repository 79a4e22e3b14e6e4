package datadir

import (
	"io/fs"
	"os"
	"os/user"
)

// Owner always returns ok = false on Windows, where files inherit the rights of
// their folder.
func Owner(fs.FileInfo) (uid, gid int, ok bool) { return 0, 0, false }

// Adopt does nothing on Windows.
func Adopt(*os.File, *os.Root) error { return nil }

func checkLink(string, fs.FileInfo) error { return nil }

func check(*os.Root, *os.Root) error { return nil }

func hardLinks(fs.FileInfo) int { return 1 }

const nonBlocking = 0

func setModeAndOwner(*os.Root, string, fs.FileMode) error { return nil }

func awaitMode(func(string) (fs.FileInfo, error), string) {}

func userName(int) string {
	if me, err := user.Current(); err == nil {
		return "user " + me.Username
	}
	return "this user"
}

func ownerName(fs.FileInfo) string { return "another user" }
