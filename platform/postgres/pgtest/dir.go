package pgtest

import (
	"os"
	"testing"

	"millrace/platform/privatedir"
)

// Dir returns a new folder for a test that starts a server of its own with devserver. The
// test's end removes it. Unlike t.TempDir, the server's user can reach it when the tests run
// as root.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := privatedir.Temp(fastDir(), "millrace-test-")
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

// enough is the free memory, in bytes, that the servers of a test run may need.
const enough = 2 << 30

// fastDir is a file system in memory if there is one with enough room, otherwise the folder
// for temporary files. A cluster has a thousand files, and a database three hundred: on a
// disk, creating them takes longer than the tests.
func fastDir() string {
	const memory = "/dev/shm"
	if free(memory) >= enough {
		return memory
	}
	return os.TempDir()
}
