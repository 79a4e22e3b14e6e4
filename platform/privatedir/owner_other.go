//go:build !unix

package privatedir

import (
	"io/fs"
	"os"
)

func userCache() (string, error) { return os.UserCacheDir() }

func checkOwner(string, fs.FileInfo) error { return nil }
