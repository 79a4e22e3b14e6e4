//go:build slow

package newmodule_test

import (
	"go/format"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/test/readme"
)

// modulesFile contains the list of modules.
const modulesFile = "cmd/millrace/app/modules.go"

// idle is the source of a module with nothing but a name.
const idle = `// Package idle does nothing.
package idle

import (
	"millrace/platform/bus"
	"millrace/platform/module"
)

// Module is the idle module.
type Module struct{ module.Base }

// New makes the module.
func New(*bus.DB) *Module { return &Module{} }

// Name is the module's schema.
func (*Module) Name() string { return "idle" }
`

// affected are the packages whose tests run in the copy: those that use the list of
// modules or files of every module.
var affected = []string{
	"./cmd/...", "./config/...", "./modules/...", "./platform/bus", "./platform/bus/bustest/...", "./platform/module/...",
	"./test/arch", "./test/compose", "./test/e2e", "./test/licenses", "./test/newmodule/...", "./test/readme", "./test/roles", "./test/versions",
}

// TestExamples_PassTheTestsWhenAddedByTheDocumentsSteps copies the repository,
// adds the examples and the idle module, runs the commands of
// docs/adding-a-module.md for generated files, and then vets and builds all
// packages and runs the tests of the packages in affected.
//
// It does not run the default tests that use no module of the product: those of the
// platform, and the suites with their own modules (test/conformance, test/model,
// test/kafka, and so on).
func TestExamples_PassTheTestsWhenAddedByTheDocumentsSteps(t *testing.T) {
	t.Parallel()
	copied := t.TempDir()
	copyRepository(t, copied)
	for _, name := range []string{"loyalty", "spending"} {
		addExample(t, copied, name)
	}
	write(t, filepath.Join(copied, "modules", "idle", "module.go"), idle)
	for _, name := range []string{"loyalty", "spending", "idle"} {
		addToList(t, filepath.Join(copied, filepath.FromSlash(modulesFile)), name)
	}
	run := func(args ...string) {
		t.Helper()
		t.Log(args)
		command := exec.CommandContext(t.Context(), args[0], args[1:]...) //nolint:gosec // commands of the repository's own documents
		command.Dir = copied
		out, err := command.CombinedOutput()
		require.NoError(t, err, "%v:\n%s", args, out)
	}
	commands, err := readme.Shell(root)
	require.NoError(t, err)
	commands = slices.DeleteFunc(commands, func(c readme.Command) bool { return c.File != document })
	require.Len(t, commands, 5)
	for _, c := range commands[:4] {
		run(c.Args...)
	}
	require.Equal(t, []string{"go", "test", "./..."}, commands[4].Args, "of which the rest of this test runs a part")
	run("go", "vet", "./...")
	run("go", "build", "./...")
	run(append([]string{"go", "test", "-timeout", "25m"}, affected...)...)
}

// copyRepository copies the repository without version control, builds and data.
func copyRepository(t *testing.T, to string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		switch {
		case slices.Contains([]string{".git", ".data", ".build", filepath.Join(".ci", "venv")}, name):
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		case entry.IsDir():
			return os.MkdirAll(filepath.Join(to, name), 0o755)
		case !entry.Type().IsRegular():
			return nil
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, name), content, info.Mode().Perm())
	}))
}

// addExample copies an example into the modules of the copy.
func addExample(t *testing.T, copied, name string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(name, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		write(t, filepath.Join(copied, "modules", path), asModule(t, path))
		return nil
	}))
}

// addToList adds a module to the end of the list of modules.
func addToList(t *testing.T, file, name string) {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	before, list, found := strings.Cut(string(text), "\treturn []module.Module{\n")
	require.True(t, found, "%s has no list of modules", file)
	items, after, found := strings.Cut(list, "\n\t}\n")
	require.True(t, found)
	before = strings.Replace(before, "\t\"millrace/platform/bus\"\n", "\t\"millrace/modules/"+name+"\"\n\t\"millrace/platform/bus\"\n", 1)
	source, err := format.Source([]byte(before + "\treturn []module.Module{\n" + items + "\n\t\t" + name + ".New(db(\"" + name + "\")),\n\t}\n" + after))
	require.NoError(t, err)
	write(t, file, string(source))
}

func write(t *testing.T, file, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(t, os.WriteFile(file, []byte(text), 0o644)) //nolint:gosec // sources, in a test's folder
}
