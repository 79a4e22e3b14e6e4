package arch

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var updateWords = flag.Bool("update-words", false, "note how many words are left that docs/glossary.md replaces")

// TestWords_CeilingsAreThoseOfTheTree writes the ceilings with -update-words; that
// none is exceeded, and none too high, is a rule.
func TestWords_CeilingsAreThoseOfTheTree(t *testing.T) {
	t.Parallel()
	tree, err := load(os.DirFS("../.."))
	require.NoError(t, err)
	if !*updateWords {
		require.Empty(t, check(tree, wordsAreThoseOfTheGlossary))
		return
	}
	found := bannedWords(tree)
	var lines strings.Builder
	for _, folder := range slices.Sorted(maps.Keys(found)) {
		fmt.Fprintf(&lines, "%s %d\n", folder, len(found[folder]))
	}
	require.NoError(t, os.WriteFile("words.txt", []byte(lines.String()), 0o644))
}
