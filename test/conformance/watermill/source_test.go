package watermill

import (
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWatermillSuite_EachTestRunsOrIsExcludedWithAReason(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	for _, trial := range trials {
		require.False(t, known[trial.name()], "%s is listed twice", trial.name())
		known[trial.name()] = true
	}
	for name, why := range excluded {
		require.False(t, known[name], "%s is run, and excluded too", name)
		require.NotEmpty(t, why, name)
		known[name] = true
	}
	published := publishedTests(t)
	require.Greater(t, len(published), 10, "the suite's source was found")
	for _, name := range published {
		require.True(t, known[name], "Watermill's suite has %s: run it, or exclude it with a reason", name)
		delete(known, name)
	}
	require.Empty(t, known, "the suite has no such tests any more")
}

// publishedTests lists the exported functions of the suite whose names begin with Test.
func publishedTests(t *testing.T) (names []string) {
	t.Helper()
	suite, err := build.Import("github.com/ThreeDotsLabs/watermill/pubsub/tests", ".", build.FindOnly)
	require.NoError(t, err)
	files, err := filepath.Glob(filepath.Join(suite.Dir, "*.go"))
	require.NoError(t, err)
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, declared := range parsed.Decls {
			f, ok := declared.(*ast.FuncDecl)
			if ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") {
				names = append(names, f.Name.Name)
			}
		}
	}
	return names
}
