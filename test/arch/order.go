package arch

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// goals of a package: at most 10 % of the calls between its files run backwards in the
// best order of its files, and no type has more than 15 methods.
const (
	mostBackward = 10 // percent
	mostMethods  = 15
)

// call is a reference, in one file, to a function or method that another file of the
// same package declares.
type call struct{ from, to, name string }

func (c call) String() string { return fmt.Sprintf("%s → %s: %s", c.from, c.to, c.name) }

// shape is what is counted of a package.
type shape struct {
	calls    []call
	order    []string // the files, callers first, so that the fewest calls run backwards
	backward []call
	methods  map[string]int // by type
}

// meetsBackward and meetsMethods compare with the goals.
func (s shape) meetsBackward() bool { return len(s.backward)*100 <= len(s.calls)*mostBackward }
func (s shape) meetsMethods() bool  { return s.most() <= mostMethods }

// most returns how many methods the largest type has.
func (s shape) most() (most int) {
	for _, n := range s.methods {
		most = max(most, n)
	}
	return most
}

// shapes counts every package of the product, by folder.
func shapes(root string) (map[string]shape, error) {
	listed, exports, err := list(root)
	if err != nil {
		return nil, err
	}
	found := map[string]shape{}
	for _, p := range listed {
		files := token.NewFileSet()
		sources := map[string]string{}
		for _, name := range p.GoFiles {
			text, err := os.ReadFile(filepath.Join(p.Dir, name))
			if err != nil {
				return nil, err
			}
			sources[name] = string(text)
		}
		imports := importer.ForCompiler(files, "gc", func(path string) (io.ReadCloser, error) {
			if exports[path] == "" {
				return nil, fmt.Errorf("no export data of %s", path)
			}
			return os.Open(exports[path])
		})
		folder := strings.TrimPrefix(p.ImportPath, module+"/")
		if found[folder], err = count(files, imports, sources); err != nil {
			return nil, fmt.Errorf("%s: %w", folder, err)
		}
	}
	return found, nil
}

// listedPackage is what `go list` prints of a package.
type listedPackage struct {
	Dir, ImportPath, Export string
	GoFiles                 []string
}

// list asks the go command for the product's packages, and for the compiled types of all
// packages that they import. It reads the files that a build for Linux has.
func list(root string) (product []listedPackage, exports map[string]string, err error) {
	command := exec.Command("go", "list", "-deps", "-export", "-json=Dir,ImportPath,Export,GoFiles", "./cmd/...", "./config/...", "./modules/...", "./platform/...")
	command.Dir, command.Env, command.Stderr = root, append(os.Environ(), "GOOS=linux"), os.Stderr
	out, err := command.Output()
	if err != nil {
		return nil, nil, fmt.Errorf("go list: %w", err)
	}
	exports = map[string]string{}
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listedPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return product, exports, nil
		} else if err != nil {
			return nil, nil, fmt.Errorf("go list: %w", err)
		}
		exports[p.ImportPath] = p.Export
		if own(p.ImportPath) != "" {
			product = append(product, p)
		}
	}
}

// count checks the types of one package and counts.
func count(files *token.FileSet, imports types.Importer, sources map[string]string) (shape, error) {
	s := shape{methods: map[string]int{}}
	var parsed []*ast.File
	for _, name := range sorted(sources) {
		file, err := parser.ParseFile(files, name, sources[name], parser.SkipObjectResolution)
		if err != nil {
			return s, err
		}
		parsed = append(parsed, file)
	}
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}}
	checked, err := (&types.Config{Importer: imports}).Check("p", files, parsed, info)
	if err != nil {
		return s, err
	}
	for id, used := range info.Uses {
		f, ok := used.(*types.Func)
		if !ok || f.Pkg() != checked {
			continue
		}
		from, to := files.Position(id.Pos()).Filename, files.Position(f.Origin().Pos()).Filename
		if from != to {
			s.calls = append(s.calls, call{from, to, f.Name()})
		}
	}
	for _, name := range checked.Scope().Names() {
		declared, ok := checked.Scope().Lookup(name).(*types.TypeName)
		if !ok || declared.IsAlias() {
			continue
		}
		named, ok := declared.Type().(*types.Named)
		if !ok {
			continue
		}
		s.methods[name] = named.NumMethods()
		if i, ok := named.Underlying().(*types.Interface); ok {
			s.methods[name] = i.NumExplicitMethods()
		}
	}
	slices.SortFunc(s.calls, func(a, b call) int { return cmp.Compare(a.String(), b.String()) })
	s.order, s.backward = bestOrder(sorted(sources), s.calls)
	return s, nil
}

// bestOrder returns the order of files in which the fewest calls run backwards, and
// those calls.
func bestOrder(files []string, calls []call) (order []string, backward []call) {
	weights := map[string]map[string]int{}
	for _, f := range files {
		weights[f] = map[string]int{}
	}
	for _, c := range calls {
		weights[c.from][c.to]++
	}
	for _, group := range cycles(files, weights) {
		order = append(order, arrange(group, weights)...)
	}
	for _, c := range calls {
		if slices.Index(order, c.to) < slices.Index(order, c.from) {
			backward = append(backward, c)
		}
	}
	return order, backward
}

func sorted(m map[string]string) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
