package program

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// Dir is a folder for what a suite builds once. Main removes it.
var Dir = sync.OnceValues(func() (string, error) { return os.MkdirTemp("", "millrace-program-") })

// built has the paths of the programs that Build built, by tags.
var built struct {
	sync.Mutex
	paths map[string]string
}

// Build returns the path of the program, built with these tags, and with the race
// detector if the test runs with it. It builds once in a test process: TestMain calls Main.
func Build(t testing.TB, tags string) (path string) {
	t.Helper()
	path, err := build(tags)
	if err != nil {
		t.Fatalf("build the program: %v", err)
	}
	return path
}

func build(tags string) (path string, err error) {
	built.Lock()
	defer built.Unlock()
	if path, ok := built.paths[tags]; ok {
		return path, nil
	}
	dir, err := Dir()
	if err != nil {
		return "", err
	}
	path = filepath.Join(dir, "millrace"+tags)
	args := []string{"build", "-o", path, "-tags", tags}
	if raceEnabled {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, "millrace/cmd/millrace")...).CombinedOutput() //nolint:noctx // the test's timeout bounds it
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	if built.paths == nil {
		built.paths = map[string]string{}
	}
	built.paths[tags] = path
	return path, nil
}

// Main runs the tests, and then removes Dir.
func Main(m *testing.M) {
	code := m.Run()
	if dir, err := Dir(); err == nil {
		_ = os.RemoveAll(dir) // a rest would stay in the system's temporary folder
	}
	os.Exit(code)
}
