package readme_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/test/stock"
)

var updatePromises = flag.Bool("update-promises", false, "run the tests of both sides of every promise, and write the results into docs/watermill.md (minutes; needs Java and Maven)")

// The results of a test for its promise. A table with results other than "broken" for
// stock parts and "kept" for ours fails, so that the change is investigated.
const (
	breaks  = "broken"
	keeps   = "kept"
	mended  = "**kept now: our own code may go**"
	failed  = "**broken**"
	missing = "**did not run**"
)

func expected(c stock.Column) string {
	if c.Stock {
		return breaks
	}
	return keeps
}

// tested are the modules whose versions the table names.
var tested = []string{"github.com/ThreeDotsLabs/watermill", "github.com/ThreeDotsLabs/watermill-sql/v4", "github.com/lib/pq", "github.com/ThreeDotsLabs/watermill-kafka/v3", "github.com/IBM/sarama"}

// watermill is the document with the table.
const watermill = "docs/watermill.md"

func TestPromises_TableMatchesTheLastRun(t *testing.T) {
	t.Parallel()
	tests := findTests(t)
	outcome := func(c stock.Column, _ string) string { return expected(c) }
	if *updatePromises {
		results := run(t, tests)
		outcome = func(c stock.Column, name string) string {
			switch passed, ran := results[name]; {
			case !ran:
				return missing
			case passed:
				return expected(c)
			case c.Stock:
				return mended
			default:
				return failed
			}
		}
	}
	want := promises(t, tests, outcome)
	got, rewritten := block(t, watermill, "promises", want) // read after the run, which takes minutes
	if *updatePromises {
		write(t, watermill, rewritten)
		for _, word := range []string{mended, failed, missing} {
			require.NotContains(t, want, word)
		}
		return
	}
	require.Equal(t, want, got, "the table, a test's place or a library's version has changed, or the last run was not as expected; run: go test ./test/readme -run Promises -update-promises")
}

func TestPromises_NameExistingTestsAndEveryStockTest(t *testing.T) {
	t.Parallel()
	tests := findTests(t)
	named := map[string]bool{}
	for _, p := range stock.Promises {
		require.Len(t, p.Tests, len(stock.Columns), p.Text)
		for i, name := range p.Tests {
			if name == "" {
				continue
			}
			require.Contains(t, tests, name, "of the promise: %s", p.Text)
			require.Equal(t, stock.Columns[i].Stock, strings.HasPrefix(tests[name].file, "test/stock/"), "%s is in the wrong column", name)
			named[name] = true
		}
	}
	for name, at := range tests {
		if strings.HasPrefix(at.file, "test/stock/") && strings.HasPrefix(name, "Test") {
			require.True(t, named[name], "%s is in no row of stock.Promises", name)
		}
	}
}

// place is the location of a test.
type place struct{ pkg, file string }

var (
	testFunc = regexp.MustCompile(`(?m)^func (Test\w*)\(t \*testing\.T\)`)
	subTest  = regexp.MustCompile(`\{"([A-Z]\w*)", (\w+)\}`)
	anyFunc  = regexp.MustCompile(`(?m)^func (\w+)\(t \*testing\.T, b \*bench\)`)
	suiteRun = regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\) \{(?:.*\n(?:\t.*\n)*\t)?.*conformance\.Run\(`)
)

// findTests returns the location of every test, by name. A test of the conformance
// suite is a subtest of each test that runs the suite.
func findTests(t *testing.T) map[string]place {
	t.Helper()
	tests := map[string]place{}
	suite, funcs, runs := map[string]string{}, map[string]string{}, map[string]string{}
	require.NoError(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (strings.HasPrefix(entry.Name(), ".") && path != root || entry.Name() == "testdata") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		file, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		file = filepath.ToSlash(file)
		if strings.HasSuffix(path, "_test.go") {
			for _, f := range testFunc.FindAllSubmatch(text, -1) {
				tests[string(f[1])] = place{filepath.ToSlash(filepath.Dir(file)), file}
			}
			for _, f := range suiteRun.FindAllSubmatch(text, -1) {
				runs[string(f[1])] = filepath.ToSlash(filepath.Dir(file))
			}
		}
		if strings.HasPrefix(file, "test/conformance/") {
			for _, f := range subTest.FindAllSubmatch(text, -1) {
				suite[string(f[1])] = string(f[2])
			}
			for _, f := range anyFunc.FindAllSubmatch(text, -1) {
				funcs[string(f[1])] = file
			}
		}
		return nil
	}))
	for test, pkg := range runs {
		for name, function := range suite {
			tests[test+"/"+name] = place{pkg, funcs[function]}
		}
	}
	return tests
}

// promises returns the table for docs/watermill.md.
func promises(t *testing.T, tests map[string]place, outcome func(stock.Column, string) string) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("| promise |")
	for _, c := range stock.Columns {
		b.WriteString(" " + c.Name + " |")
	}
	b.WriteString("\n| --- |" + strings.Repeat(" --- |", len(stock.Columns)) + "\n")
	for _, p := range stock.Promises {
		b.WriteString("| " + p.Text + " |")
		for i, name := range p.Tests {
			if name == "" {
				b.WriteString(" – |")
				continue
			}
			fmt.Fprintf(&b, " %s: [`%s`](../%s) |", outcome(stock.Columns[i], name), name, tests[name].file)
		}
		b.WriteString("\n")
	}
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	require.NoError(t, err)
	var versions []string
	for _, module := range tested {
		version := regexp.MustCompile(`(?m)^\t` + regexp.QuoteMeta(module) + ` (\S+)`).FindSubmatch(mod)
		require.NotNil(t, version, module)
		_, name, _ := strings.Cut(module, "/")
		versions = append(versions, name+" "+string(version[1]))
	}
	b.WriteString("\nThe last run was with " + strings.Join(versions, ", ") + ".\n")
	return b.String()
}

// run runs the tests of all promises, one package after the other, and returns the results by name.
func run(t *testing.T, tests map[string]place) map[string]bool {
	t.Helper()
	names := map[[2]string][]string{} // by package and, for the suite's tests, by the test that runs the suite
	for _, p := range stock.Promises {
		for _, name := range p.Tests {
			if name == "" {
				continue
			}
			suite, sub, isSub := strings.Cut(name, "/")
			key := [2]string{tests[name].pkg, ""}
			if isSub {
				key[1], name = suite, sub
			}
			if !slices.Contains(names[key], name) {
				names[key] = append(names[key], name)
			}
		}
	}
	passed := map[string]bool{}
	for key, list := range names {
		pattern := "^(" + strings.Join(list, "|") + ")$"
		if key[1] != "" {
			pattern = "^" + key[1] + "$/" + pattern
		}
		cmd := exec.CommandContext(t.Context(), "go", "test", "-tags", "stock,chaos,kafka,slow", "-count=1", "-json", "-run", pattern, "./"+key[0]) //nolint:gosec // our own tests
		cmd.Dir = root
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		t.Logf("%s: %d tests: %v", key[0], len(list), err) // the table shows the failures
		lines := bufio.NewScanner(bytes.NewReader(out))
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var event struct{ Action, Test string }
			if json.Unmarshal(lines.Bytes(), &event) == nil && event.Test != "" && (event.Action == "pass" || event.Action == "fail") {
				passed[event.Test] = event.Action == "pass"
			}
		}
		require.NoError(t, lines.Err())
	}
	return passed
}
