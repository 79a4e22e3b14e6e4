package demo

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDocuments_ListTheChecks(t *testing.T) {
	t.Parallel()
	promises := map[string]string{}
	for _, c := range checks {
		promises[c.name] = c.promise
	}
	readme, err := os.ReadFile("../../../README.md")
	require.NoError(t, err)
	lines := regexp.MustCompile(`(?m)^  ok    (\w+)  (.*)$`).FindAllStringSubmatch(string(readme), -1)
	require.NotEmpty(t, lines)
	for _, line := range lines {
		require.Equal(t, promises[line[1]], line[2], "README.md, %s", line[1])
	}
	guarantees, err := os.ReadFile("../../../docs/guarantees.md")
	require.NoError(t, err)
	for name := range promises {
		if strings.HasPrefix(name, "S") || strings.HasPrefix(name, "L") {
			require.True(t, strings.Contains(string(guarantees), "\n| "+name+" |"), "docs/guarantees.md has no %s", name)
		}
	}
}
