package readme_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/test/readme"
)

// layout returns the paths of the folders in docs/architecture.md.
func layout(t *testing.T) (folders []string) {
	t.Helper()
	text, _ := block(t, "docs/architecture.md", "layout", "")
	var parents []string // by depth
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "```") || strings.TrimSpace(line) == "" {
			continue
		}
		depth := (len(line) - len(strings.TrimLeft(line, " "))) / 2
		require.LessOrEqual(t, depth, len(parents), "indented too far: %s", line)
		for _, name := range strings.Fields(line) {
			name, ok := strings.CutSuffix(name, "/")
			if !ok {
				break // the rest of the line is an explanation
			}
			parents = append(parents[:depth], name)
			folders = append(folders, strings.Join(parents, "/"))
		}
	}
	return folders
}

// shown are the folders whose subfolders must all be in the layout.
var shown = []string{".", "cmd/millrace", "platform", "platform/bus"}

func TestArchitecture_LayoutMatchesTheSources(t *testing.T) {
	t.Parallel()
	folders := layout(t)
	for _, folder := range folders {
		require.DirExists(t, filepath.Join(root, filepath.FromSlash(folder)))
	}
	for _, parent := range shown {
		entries, err := os.ReadDir(filepath.Join(root, filepath.FromSlash(parent)))
		require.NoError(t, err)
		for _, entry := range entries {
			folder := strings.TrimPrefix(parent+"/"+entry.Name(), "./")
			if !entry.IsDir() || strings.HasPrefix(entry.Name(), ".") || slices.Contains([]string{"testdata", "internal", "docs"}, entry.Name()) {
				continue
			}
			require.True(t, slices.ContainsFunc(folders, func(f string) bool { return f == folder || strings.HasPrefix(f, folder+"/") }),
				"docs/architecture.md does not show %s", folder)
		}
	}
}

// has requires that the document contains part. On failure it does not print the whole document.
func has(t *testing.T, file, part string) {
	t.Helper()
	require.True(t, strings.Contains(document(t, file), part), "%s does not contain %q", file, part)
}

var constraint = regexp.MustCompile(`(?m)^//go:build (.*)$`)

func TestSuites_AreAllListedWithTheirTags(t *testing.T) {
	t.Parallel()
	entries, err := os.ReadDir(filepath.Join(root, "test"))
	require.NoError(t, err)
	for _, entry := range entries {
		if entry.IsDir() {
			has(t, "test/README.md", "| ["+entry.Name()+"]("+entry.Name()+") |")
		}
	}
	require.NoError(t, filepath.WalkDir(filepath.Join(root, "test"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, found := range constraint.FindAllStringSubmatch(string(source), -1) {
			for _, tag := range strings.FieldsFunc(found[1], func(r rune) bool { return strings.ContainsRune("&|!() ", r) }) {
				if !slices.Contains([]string{"race", "linux", "unix", "windows"}, tag) {
					has(t, "test/README.md", "`"+tag+"`")
				}
			}
		}
		return nil
	}))
}

func TestReadme_VersionsMatchTheUsedOnes(t *testing.T) {
	t.Parallel()
	toolchain := regexp.MustCompile(`(?m)^toolchain go((\d+\.\d+)\.\d+)$`).FindStringSubmatch(document(t, "go.mod"))
	require.NotNil(t, toolchain)
	has(t, "README.md", "| Go | "+toolchain[2]+" | "+toolchain[1]+" |")
	kafka := regexp.MustCompile(`(?m)^\s+image: apache/kafka:((\d+\.\d+)\.\d+)$`).FindStringSubmatch(document(t, "docker-compose.yml"))
	require.NotNil(t, kafka)
	has(t, "README.md", "| Apache Kafka | "+kafka[2]+"; other versions are untested | "+kafka[1]+",")
	has(t, "test/broker/doc.go", "version "+kafka[1])
	oldest := regexp.MustCompile(`oldestVersion = (\d+)_00_00`).FindStringSubmatch(document(t, "platform/postgres/probe.go"))
	require.NotNil(t, oldest)
	has(t, "README.md", "older than "+oldest[1]+" is refused")
}

// Checks the commands in the documents, except those of the program itself, which
// package main checks.
func TestDocuments_CommandsOfMakeAndGoExist(t *testing.T) {
	t.Parallel()
	commands, err := readme.Shell(root)
	require.NoError(t, err)
	require.Greater(t, len(commands), 30)
	makefile := document(t, "Makefile")
	for _, c := range commands {
		if _, ok := c.Millrace(); ok {
			continue
		}
		switch c.Args[0] {
		case "make":
			require.Regexp(t, `(?m)^`+regexp.QuoteMeta(c.Args[1])+`:`, makefile, c.String())
		case "go":
			for _, arg := range c.Args[2:] {
				if folder, ok := strings.CutPrefix(arg, "./"); ok {
					require.DirExists(t, filepath.Join(root, filepath.FromSlash(strings.TrimSuffix(folder, "..."))), c.String())
				}
			}
		case "psql", "curl", "docker", "echo":
		case ".ci/run":
			require.FileExists(t, filepath.Join(root, ".ci", "run"))
		default:
			require.Fail(t, "nothing checks this command", c.String())
		}
	}
}
