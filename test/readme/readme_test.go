package readme_test

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/cmd/millrace/app"
	"millrace/platform/bus"
	"millrace/test/readme"
)

var update = flag.Bool("update", false, "write the message map into the README")

const root = "../.."

// document returns the text of a document.
func document(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(file)))
	require.NoError(t, err)
	return string(text)
}

// block returns the text between <!-- name --> and <!-- /name --> in a document, and
// the document with want in its place.
func block(t *testing.T, file, name, want string) (got, rewritten string) {
	t.Helper()
	begin, end := "<!-- "+name+" -->\n", "<!-- /"+name+" -->"
	before, rest, found := strings.Cut(document(t, file), begin)
	require.True(t, found, "%s has no %s", file, begin)
	got, after, found := strings.Cut(rest, end)
	require.True(t, found, "%s has no %s", file, end)
	return got, before + begin + want + end + after
}

func write(t *testing.T, file, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(root, filepath.FromSlash(file)), []byte(text), 0o644)) //nolint:gosec // a public file
}

func TestReadme_MessageMapMatchesTheCode(t *testing.T) {
	t.Parallel()
	topo, err := app.Topology()
	require.NoError(t, err)
	want := messageMap(topo)
	got, rewritten := block(t, "README.md", "messages", want)
	if *update {
		write(t, "README.md", rewritten)
		return
	}
	require.Equal(t, want, got, "run: go test ./test/readme -update")
}

func messageMap(topo *bus.Topology) string {
	subscribers := map[string][]string{}
	for _, module := range topo.Modules() {
		for _, s := range topo.SubscriptionsOf(module) {
			subscribers[s.Type] = append(subscribers[s.Type], module)
		}
	}
	var b strings.Builder
	b.WriteString("| event | published by | subscribers |\n| --- | --- | --- |\n")
	for _, module := range topo.Modules() {
		for _, event := range topo.Events() {
			if strings.HasPrefix(event, module+".") {
				fmt.Fprintf(&b, "| `%s` | %s | %s |\n", event, module, strings.Join(subscribers[event], ", "))
			}
		}
	}
	b.WriteString("\n| command | sent by | handled by |\n| --- | --- | --- |\n")
	for _, command := range topo.Commands() {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", command, strings.Join(topo.SendersOf(command), ", "), strings.Join(subscribers[command], ", "))
	}
	return b.String()
}

var testName = regexp.MustCompile("`(Test[A-Z][A-Za-z0-9_]*)(?:/([A-Za-z0-9]+))?`")

func TestDocuments_NameTestsThatExist(t *testing.T) {
	t.Parallel()
	var all strings.Builder
	require.NoError(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		text, err := os.ReadFile(path)
		all.Write(text)
		return err
	}))
	for path, text := range documents(t) {
		for _, name := range testName.FindAllStringSubmatch(text, -1) {
			require.True(t, strings.Contains(all.String(), "func "+name[1]+"("), "%s names %s, which does not exist", path, name[1])
			require.True(t, name[2] == "" || strings.Contains(all.String(), `"`+name[2]+`"`), "%s names %s, which does not exist", path, name[0])
		}
	}
}

var link = regexp.MustCompile(`\]\(([^)#\s]*)(#[^)\s]*)?\)`)

func TestDocuments_LinkToFilesAndHeadingsThatExist(t *testing.T) {
	t.Parallel()
	seen := 0
	for path, text := range documents(t) {
		for _, found := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(found[1], "://") {
				continue
			}
			seen++
			target := path
			if found[1] != "" {
				target = filepath.ToSlash(filepath.Join(filepath.Dir(path), filepath.FromSlash(found[1])))
				_, err := os.Stat(filepath.Join(root, filepath.FromSlash(target)))
				require.NoError(t, err, "in %s", path)
			}
			if found[2] != "" {
				require.Contains(t, anchors(document(t, target)), found[2], "in %s, a heading of %s", path, target)
			}
		}
	}
	require.Greater(t, seen, 50)
}

// anchors returns the anchors of a document's headings.
func anchors(text string) (all []string) {
	for line := range strings.Lines(text) {
		if heading, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " "); ok && strings.HasPrefix(line, "#") {
			heading = regexp.MustCompile(`[^a-z0-9 -]`).ReplaceAllString(strings.ToLower(strings.TrimSpace(heading)), "")
			all = append(all, "#"+strings.ReplaceAll(heading, " ", "-"))
		}
	}
	return all
}

// documents returns the texts of all documents by path.
func documents(t *testing.T) map[string]string {
	t.Helper()
	found, err := readme.Documents(root)
	require.NoError(t, err)
	for _, path := range []string{"README.md", "docs/security.md", "docs/decisions/own-subscriber.md", "test/README.md"} {
		require.Contains(t, found, path)
	}
	return found
}
