package bus_test

import (
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The program in testdata/misuse must not compile. The comment "want:" behind a
// line is the compiler's error for it; a line without one must compile.
func TestBus_MisuseDoesNotCompile(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("testdata/misuse/messages.go")
	require.NoError(t, err)
	want := map[int]string{}
	for i, line := range strings.Split(string(source), "\n") {
		if _, text, found := strings.Cut(line, "// want: "); found {
			want[i+1] = text
		}
	}
	require.Len(t, want, 11)

	answer, err := exec.CommandContext(t.Context(), "go", "build", "-gcflags=-e", "./testdata/misuse").CombinedOutput()
	require.Error(t, err, "it compiles")
	got := map[int]string{}
	for _, fault := range regexp.MustCompile(`messages\.go:(\d+):\d+: (.*)`).FindAllStringSubmatch(string(answer), -1) {
		line, err := strconv.Atoi(fault[1])
		require.NoError(t, err)
		got[line] += fault[2] + "\n"
	}
	for line, text := range want {
		require.Contains(t, got[line], text, "line %d of\n%s", line, answer)
		delete(got, line)
	}
	require.Empty(t, got, "lines that should compile")
}
