package readme_test

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/cmd/millrace/app"
	"millrace/platform/bus"
)

var update = flag.Bool("update", false, "write the message map into the README")

const (
	root  = "../.."
	begin = "<!-- messages -->\n"
	end   = "<!-- /messages -->"
)

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	require.NoError(t, err)
	return string(text)
}

func TestTheMessageMapIsTheCodes(t *testing.T) {
	t.Parallel()
	topo, err := app.Topology()
	require.NoError(t, err)
	before, rest, found := strings.Cut(readme(t), begin)
	require.True(t, found)
	got, after, found := strings.Cut(rest, end)
	require.True(t, found)
	want := messageMap(topo)
	if *update {
		require.NoError(t, os.WriteFile(filepath.Join(root, "README.md"), []byte(before+begin+want+end+after), 0o644)) //nolint:gosec // a public file
		return
	}
	require.Equal(t, want, got, "run: go test ./test/readme -update")
}

func messageMap(topo *bus.Topology) string {
	hears := map[string][]string{}
	for _, module := range topo.Modules() {
		for _, s := range topo.SubscriptionsOf(module) {
			hears[s.Type] = append(hears[s.Type], module)
		}
	}
	var b strings.Builder
	b.WriteString("| event | said by | heard by |\n| --- | --- | --- |\n")
	for _, module := range topo.Modules() {
		for _, event := range topo.Events() {
			if strings.HasPrefix(event, module+".") {
				fmt.Fprintf(&b, "| `%s` | %s | %s |\n", event, module, strings.Join(hears[event], ", "))
			}
		}
	}
	b.WriteString("\n| command | sent by | handled by |\n| --- | --- | --- |\n")
	for _, command := range topo.Commands() {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", command, strings.Join(topo.SendersOf(command), ", "), strings.Join(hears[command], ", "))
	}
	return b.String()
}

var example = regexp.MustCompile("(?s)<!-- example: (\\S+) -->\n```\\w+\n(.*?)```")

func TestTheWorkedExampleCompilesAndItsTestPasses(t *testing.T) {
	t.Parallel()
	blocks := example.FindAllStringSubmatch(readme(t), -1)
	require.Len(t, blocks, 4)
	// A copy of the repository with the example in it: go:embed does not see the
	// files of an overlay.
	here, err := filepath.Abs(root)
	require.NoError(t, err)
	copied := t.TempDir()
	link := func(parts ...string) {
		path := filepath.Join(parts...)
		require.NoError(t, os.Symlink(filepath.Join(here, path), filepath.Join(copied, path)))
	}
	for _, name := range []string{"go.mod", "go.sum", "platform"} {
		link(name)
	}
	require.NoError(t, os.Mkdir(filepath.Join(copied, "modules"), 0o755))
	link("modules", "payment")
	for _, block := range blocks {
		path := filepath.Join(copied, filepath.FromSlash(block[1]))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(block[2]), 0o600))
	}
	cmd := exec.CommandContext(t.Context(), "go", "test", "./modules/loyalty/...")
	cmd.Dir = copied
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "ok  \tmillrace/modules/loyalty\t")
}

var testName = regexp.MustCompile("`(Test[A-Z][A-Za-z0-9]*)(?:/([A-Za-z0-9]+))?`")

func TestTheTestsThatTheReadmeNamesExist(t *testing.T) {
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
	for _, name := range testName.FindAllStringSubmatch(readme(t), -1) {
		require.True(t, strings.Contains(all.String(), "func "+name[1]+"("), "the README names %s, which does not exist", name[1])
		require.True(t, name[2] == "" || strings.Contains(all.String(), `"`+name[2]+`"`), "the README names %s, which does not exist", name[0])
	}
}
