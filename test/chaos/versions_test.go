//go:build chaos

package chaos_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/test/ports"
	"millrace/test/program"
)

// versionBefore builds the previous version from this repository's history. The file
// test/versions/before names its commit; a release updates the file.
var versionBefore = sync.OnceValues(func() (string, error) {
	dir, err := program.Dir()
	if err != nil {
		return "", err
	}
	content, err := os.ReadFile("../versions/before")
	if err != nil {
		return "", err
	}
	commit, source := strings.TrimSpace(string(content)), filepath.Join(dir, "before")
	if err := os.Mkdir(source, 0o755); err != nil {
		return "", err
	}
	if out, err := exec.Command("git", "cat-file", "-e", commit+"^{commit}").CombinedOutput(); err != nil {
		return "", fmt.Errorf("the history here does not hold %s, the version before: get it with `git fetch --unshallow` (%w: %s)", commit, err, out)
	}
	archive := filepath.Join(source, "source.tar")
	root, err := exec.Command("git", "rev-parse", "--show-toplevel").Output()
	if err != nil {
		return "", err
	}
	path := filepath.Join(source, "millrace")
	for _, step := range [][]string{
		{strings.TrimSpace(string(root)), "git", "archive", "-o", archive, commit},
		{source, "tar", "-xf", archive},
		{source, "go", "build", "-buildvcs=false", "-o", path + ".exe", "./cmd/millrace"},
	} {
		cmd := exec.Command(step[1], step[2:]...)
		cmd.Dir = step[0]
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("build the version before: %v: %w: %s", step[1:], err, out)
		}
	}
	return path + ".exe", nil
})

// An upgrade and a rollback: this version migrates while two processes of the
// previous version run, replaces them in turn, and is then replaced by them.
func TestRollingRestart_FromPreviousVersionAndBack(t *testing.T) {
	rollingRelease(t, fresh)
}

func TestRollingRestart_FromPreviousVersionAndBackOnKafka(t *testing.T) {
	rollingRelease(t, freshOnKafka)
}

func rollingRelease(t *testing.T, place func(*testing.T, ...string) *world) {
	t.Helper()
	t.Parallel()
	before, err := versionBefore()
	require.NoError(t, err)
	w := place(t)
	addresses := []string{ports.Of(t), ports.Of(t)}
	version := func(program string) { w.program = program }
	version(before)
	serving := []*running{w.serve(addresses[0], ""), w.serve(addresses[1], "")}
	l := w.load(3, addresses...)
	l.accepts(10)
	version("")
	require.NoError(t, w.launch(addresses[0], "", "migrate").wait("migrate"))
	for _, program := range []string{"", before} {
		version(program)
		for n := range serving {
			l.accepts(10)
			serving[n].stop()
			require.Empty(t, serving[n].errors())
			l.accepts(5) // with the other process only
			serving[n] = w.serve(addresses[n], "")
		}
	}
	l.accepts(10)
	l.accounted()
	for _, p := range serving {
		p.stop()
		require.Empty(t, p.errors())
	}
}

// errors returns the handler failures that the program logged, except temporary ones:
// on a busy machine a lease may expire and other nodes end the node's transactions,
// or a client may give up.
func (p *running) errors() (logged []string) {
	has := func(line string, parts ...string) bool {
		return slices.ContainsFunc(parts, func(s string) bool { return strings.Contains(line, s) })
	}
	for line := range strings.Lines(p.stderr.String()) {
		switch {
		case !has(line, `"level":"ERROR"`, `"msg":"handler failed"`),
			has(line, `"kind":"resource"`, `"kind":"timeout"`, `"kind":"contention"`, `"kind":"shutdown"`):
		default:
			logged = append(logged, line)
		}
	}
	return logged
}
