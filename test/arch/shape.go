package arch

import (
	"fmt"
	"go/ast"
	"path"
	"slices"
	"sort"
	"strings"
)

// doorExports are the names that a module shows to the composition root.
var doorExports = []string{"Module", "New", "Config"}

// onlyTheDoorIsExported: everything else in a module's package is unexported.
// Methods with exported names may stand on unexported types.
func onlyTheDoorIsExported(t *tree, fault func(string, ...any)) {
	for _, s := range t.sources {
		if s.test || moduleOf(s.dir()) == "" || s.dir() != door(moduleOf(s.dir())) {
			continue
		}
		for _, name := range exported(s.ast) {
			if !slices.Contains(doorExports, name) {
				fault("%s: exports %s; a module exports %s", s.path, name, strings.Join(doorExports, ", "))
			}
		}
	}
}

// exported lists the exported names that a file declares at its top.
func exported(file *ast.File) (names []string) {
	add := func(ids ...*ast.Ident) {
		for _, id := range ids {
			if id.IsExported() {
				names = append(names, id.Name)
			}
		}
	}
	for _, declared := range file.Decls {
		switch d := declared.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil {
				add(d.Name)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch sp := spec.(type) {
				case *ast.TypeSpec:
					add(sp.Name)
				case *ast.ValueSpec:
					add(sp.Names...)
				}
			}
		}
	}
	return names
}

// partFiles are the files in which a module keeps what it has: a file for the
// method of its Module that declares the part. NAME is the module's name.
var partFiles = map[string][]string{
	"Name":          {"module.go"},
	"Publishes":     {"NAMEapi/doc.go", "NAMEapi/events.go"},
	"Subscriptions": {"handlers.go"},
	"Routes":        {"http.go"},
	"Migrations":    {"migrations/00001_NAME.sql"},
}

// modulesKeepTheirPartsInTheSameFiles, so that who knows one knows all. A module
// without operations, tables or messages has no file for them.
func modulesKeepTheirPartsInTheSameFiles(t *tree, fault func(string, ...any)) {
	for _, name := range t.modules() {
		methods := t.methods(name)
		if !slices.Contains(methods, "Name") {
			fault("module %s has no type Module with a method Name", name)
		}
		for _, method := range methods {
			for _, file := range partFiles[method] {
				file = strings.ReplaceAll(file, "NAME", name)
				if _, ok := t.texts[door(name)+"/"+file]; !ok {
					fault("module %s has %s and no %s", name, method, file)
				}
			}
		}
		for file := range t.texts {
			dir := path.Dir(file)
			if strings.HasSuffix(dir, "/migrations") && moduleOf(dir) == name && dir != door(name)+"/migrations" {
				fault("%s: module %s keeps its migrations in %s/migrations", file, name, door(name))
			}
		}
	}
}

// methods lists the methods of a module's type Module.
func (t *tree) methods(module string) (names []string) {
	for _, s := range t.sources {
		if s.dir() != door(module) || s.test {
			continue
		}
		for _, declared := range s.ast.Decls {
			f, ok := declared.(*ast.FuncDecl)
			if !ok || f.Recv == nil {
				continue
			}
			receiver := f.Recv.List[0].Type
			if pointer, ok := receiver.(*ast.StarExpr); ok {
				receiver = pointer.X
			}
			if id, ok := receiver.(*ast.Ident); ok && id.Name == "Module" {
				names = append(names, f.Name.Name)
			}
		}
	}
	return names
}

var (
	topFolders = []string{"cmd", "config", "docs", "modules", "platform", "test"}
	documents  = []string{
		"docs/architecture.md", "docs/guarantees.md", "docs/adding-a-module.md", "docs/watermill.md", "docs/operations.md",
		"docs/kafka.md", "docs/roles.md", "docs/security.md", "docs/glossary.md",
		"docs/decisions/own-subscriber.md", "docs/decisions/64-partitions.md", "docs/decisions/offset-compare-and-set.md",
		"docs/decisions/parked-messages.md", "docs/decisions/kafka-as-a-bridge.md", "docs/decisions/lib-pq-prepared.md",
		"docs/decisions/embedded-server.md", "docs/decisions/demo-in-the-binary.md",
		"test/README.md", "test/bench/RESULTS.md",
	}
	named = []string{"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE", "THIRD_PARTY_NOTICES.txt", "Makefile", "Dockerfile", "docker-compose.yml", "go.mod", "go.sum"}
)

// theFolderListingShowsTheHouse: nothing else lies at the top, no other document
// is anywhere; no folder has a
// name that says nothing.
func theFolderListingShowsTheHouse(t *tree, fault func(string, ...any)) {
	for _, folder := range t.folders {
		if !slices.Contains(topFolders, folder) {
			fault("%s/: the top has %s and no other folder", folder, strings.Join(topFolders, ", "))
		}
	}
	for name := range t.texts {
		if !strings.Contains(name, "/") && !slices.Contains(named, name) && !strings.HasPrefix(name, ".") && path.Ext(name) != ".csv" {
			fault("%s: the top has no such file", name)
		}
		if path.Ext(name) == ".md" && strings.Contains(name, "/") && !slices.Contains(documents, name) && !inTestdata(name) {
			fault("%s: no such document is listed: a new one is added to the list of this test", name)
		}
	}
	for _, s := range t.sources {
		for _, part := range strings.Split(s.dir(), "/") {
			if slices.Contains([]string{"util", "utils", "common", "shared", "helper", "helpers", "misc", "base", "types", "models"}, part) {
				fault("%s: a folder called %s says nothing about what is in it", s.path, part)
			}
		}
	}
}

// everyPackageSaysWhatItIs: a package comment, in one file at least.
func everyPackageSaysWhatItIs(t *tree, fault func(string, ...any)) {
	documented := map[string]bool{}
	for _, s := range t.sources {
		name, text := s.ast.Name.Name, s.ast.Doc.Text()
		says := strings.HasPrefix(text, "Package "+name+" ") || (name == "main" && text != "")
		documented[s.dir()] = documented[s.dir()] || says
	}
	for dir, ok := range documented {
		if !ok {
			fault("%s: the package has no comment that begins with \"Package …\"", dir)
		}
	}
}

// maxLines is how long a file may be.
const maxLines = 400

// filesAreShort: one job each.
func filesAreShort(t *tree, fault func(string, ...any)) {
	for name, text := range t.texts {
		lines := strings.Count(text, "\n")
		if slices.Contains([]string{".go", ".sql", ".html", ".css", ".js", ".sh"}, path.Ext(name)) && lines > maxLines && !inTestdata(name) {
			fault("%s: %d lines; %d are the limit", name, lines, maxLines)
		}
	}
}

// rules, by the name of the promise.
var rules = map[string]func(*tree, func(string, ...any)){
	"platform knows no module":                           platformKnowsNoModule,
	"tests watch their own database":                     testsWatchTheirOwnDatabase,
	"imports go one way":                                 importsGoOneWay,
	"the SQL of the bus is in its store":                 busSQLIsInTheStore,
	"contracts import the standard library only":         contractsAreLeaves,
	"modules meet in contracts only":                     modulesMeetInContracts,
	"modules know no transport":                          modulesKnowNoTransport,
	"only cmd and tests import a module's door":          doorsAreForTheComposition,
	"production code needs no test tools":                productionNeedsNoTestTools,
	"only the door of a module is exported":              onlyTheDoorIsExported,
	"modules keep their parts in the same files":         modulesKeepTheirPartsInTheSameFiles,
	"the folder listing shows the house":                 theFolderListingShowsTheHouse,
	"every package says what it is":                      everyPackageSaysWhatItIs,
	"files are short":                                    filesAreShort,
	"a module's SQL names no schema":                     sqlNamesNoSchema,
	"handlers touch nothing but their transaction":       handlersTouchOnlyTheirTransaction,
	"no path of somebody's machine is in the repository": noPrivatePaths,
	"no text switches encryption off":                    noTextSwitchesEncryptionOff,
	"what runs with its owner's rights is not public":    definersAreNotPublic,
	"tests neither sleep nor skip":                       testsNeitherSleepNorSkip,
	"nothing is left undone in words":                    nothingIsLeftUndone,
	"a message is named after its owner":                 contractNamesBelongToTheirOwner,
	"commands print through the printer":                 commandsWriteThroughThePrinter,
	"words are those of the glossary":                    wordsAreThoseOfTheGlossary,
}

// check runs one rule and returns what it found, sorted.
func check(t *tree, rule func(*tree, func(string, ...any))) []string {
	var found []string
	rule(t, func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) })
	sort.Strings(found)
	return found
}
