// Package arch checks the architecture of the house: what may import what,
// what is exported, which files there are. Every rule is a function over a
// tree of sources, so that its test can also plant a violation and see it red.
//
// The rules read the sources themselves, for all platforms and build tags. Only the
// count of backward calls needs the types, and gets them from the go command.
package arch

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// module is the module path: the prefix of every import of our own.
const module = "millrace"

// source is one Go file.
type source struct {
	path    string // "modules/payment/store.go"
	test    bool   // _test.go
	ast     *ast.File
	imports []string
}

func (s source) dir() string { return path.Dir(s.path) }

// tree is what the rules look at.
type tree struct {
	sources []source
	texts   map[string]string // every text file, Go or not, by path
	folders []string          // at the top
}

// load reads a tree. Folders that start with a dot, and testdata, hold no
// sources of ours; dot folders are not read at all.
func load(root fs.FS) (*tree, error) {
	t := &tree{texts: map[string]string{}}
	files := token.NewFileSet()
	err := fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if name != "." && strings.HasPrefix(path.Base(name), ".") {
				return fs.SkipDir
			}
			if name != "." && !strings.Contains(name, "/") {
				t.folders = append(t.folders, name)
			}
			return nil
		}
		if !slices.Contains(textual, path.Ext(name)) && !slices.Contains(named, name) {
			return nil
		}
		text, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		t.texts[name] = string(text)
		if path.Ext(name) != ".go" || inTestdata(name) {
			return nil
		}
		parsed, err := parser.ParseFile(files, name, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return fmt.Errorf("parse %s: %w", name, err)
		}
		s := source{path: name, test: strings.HasSuffix(name, "_test.go"), ast: parsed}
		for _, imported := range parsed.Imports {
			target, err := strconv.Unquote(imported.Path.Value)
			if err != nil {
				return fmt.Errorf("%s: import %s: %w", name, imported.Path.Value, err)
			}
			s.imports = append(s.imports, target)
		}
		t.sources = append(t.sources, s)
		return nil
	})
	return t, err
}

var textual = []string{".go", ".sql", ".md", ".yml", ".yaml", ".html", ".css", ".js", ".sh", ".mod", ".json", ".csv", ".txt"}

func inTestdata(name string) bool {
	return strings.HasPrefix(name, "testdata/") || strings.Contains(name, "/testdata/")
}

// modules lists the product's modules.
func (t *tree) modules() []string {
	var names []string
	for name := range t.texts {
		if parts := strings.Split(name, "/"); len(parts) > 2 && parts[0] == "modules" && !slices.Contains(names, parts[1]) {
			names = append(names, parts[1])
		}
	}
	slices.Sort(names)
	return names
}

// within tells whether name is the folder or lies in it.
func within(name, folder string) bool { return name == folder || strings.HasPrefix(name, folder+"/") }

// own returns the folder of an import of ours, or "".
func own(imported string) string {
	folder, ok := strings.CutPrefix(imported, module+"/")
	if !ok {
		return ""
	}
	return folder
}

// standard tells whether the import is of the standard library.
func standard(imported string) bool {
	first, _, _ := strings.Cut(imported, "/")
	return !strings.Contains(first, ".") && first != module
}

// moduleOf returns the module that a folder belongs to, or "".
func moduleOf(folder string) string {
	parts := strings.Split(folder, "/")
	if len(parts) < 2 || parts[0] != "modules" {
		return ""
	}
	return parts[1]
}

// contract is the folder of a module's …api package.
func contract(name string) string { return "modules/" + name + "/" + name + "api" }

// door is the folder of a module itself.
func door(name string) string { return "modules/" + name }
