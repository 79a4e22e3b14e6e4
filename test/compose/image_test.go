//go:build slow

package compose

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Links the program as the Dockerfile does, without a repository. What it compiles is
// the tests' own build, so that this takes seconds.
func TestDockerfile_ProgramKnowsItsCommit(t *testing.T) {
	t.Parallel()
	build := regexp.MustCompile(`(?m)^RUN CGO_ENABLED=0 go build -trimpath (-ldflags=.*) && mkdir`).FindStringSubmatch(read(t, "Dockerfile"))
	require.NotNil(t, build, "the build command in the Dockerfile")
	program := filepath.Join(t.TempDir(), "millrace")
	command := exec.CommandContext(t.Context(), "sh", "-c", "go build "+strings.Replace(build[1], "/out/millrace", program, 1)) //nolint:gosec // the repository's own command
	command.Dir = "../.."
	command.Env = append(os.Environ(), "COMMIT=0123456789abcdef0123456789abcdef01234567", "GOFLAGS=-buildvcs=false")
	out, err := command.CombinedOutput()
	require.NoError(t, err, "%s", out)
	version, err := exec.CommandContext(t.Context(), program, "version").Output() //nolint:gosec // it was just built
	require.NoError(t, err)
	require.Contains(t, string(version), ", commit 0123456789ab, ")
}
