package pgtest

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// Dir returns a new folder for a test that starts a server of its own with
// devserver; it is removed at the end. The user whom that server runs as when
// the tests run as root can reach it, unlike t.TempDir.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp(fastDir(), "millrace-test-")
	if err == nil {
		err = os.Chmod(dir, 0o711)
	}
	if err != nil {
		t.Fatalf("a folder for this test: %v", err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove the test's folder: %v", err)
		}
	})
	return dir
}

// enough is the free memory that the servers of a test run may want, in bytes.
const enough = 2 << 30

// fastDir is a file system in memory if there is one with enough room, else
// the system's folder for temporary files. A cluster has a thousand files, a
// database three hundred: on a disk making them takes longer than the tests.
func fastDir() string {
	const memory = "/dev/shm"
	if free(memory) >= enough {
		return memory
	}
	return os.TempDir()
}

// ours is a folder below base that belongs to this user.
func ours(base string) string {
	return filepath.Join(base, "millrace-pgtest-"+strconv.Itoa(os.Getuid()))
}
