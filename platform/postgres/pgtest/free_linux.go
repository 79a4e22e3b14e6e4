package pgtest

import "golang.org/x/sys/unix"

// free returns the bytes that this user may still write below dir; 0 on an error.
func free(dir string) uint64 {
	var at unix.Statfs_t
	if unix.Statfs(dir, &at) != nil || unix.Access(dir, unix.W_OK) != nil {
		return 0
	}
	return at.Bavail * uint64(at.Bsize)
}
