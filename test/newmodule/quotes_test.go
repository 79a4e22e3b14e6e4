package newmodule_test

import (
	"bytes"
	"go/format"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	root     = "../.."
	document = "docs/adding-a-module.md"
)

// asModule returns the text of an example's file as the document quotes it and as a copy
// of the repository has it: with the import paths of a module.
func asModule(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.FromSlash(file))
	require.NoError(t, err)
	text = bytes.ReplaceAll(text, []byte("millrace/test/newmodule/"), []byte("millrace/modules/"))
	if filepath.Ext(file) == ".go" {
		text, err = format.Source(text) // imports are sorted by path
		require.NoError(t, err)
	}
	return string(text)
}

var quote = regexp.MustCompile("(?s)<!-- example: modules/(\\S+) -->\n```\\w+\n(.*?)```")

func TestDocument_QuotesMatchTheExamples(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(document)))
	require.NoError(t, err)
	quotes := quote.FindAllStringSubmatch(string(text), -1)
	require.Len(t, quotes, strings.Count(string(text), "<!-- example"), "a quotation has another form")
	require.NotEmpty(t, quotes)
	for _, found := range quotes {
		require.Equal(t, asModule(t, found[1]), found[2], "of %s in %s", found[1], document)
	}
}
