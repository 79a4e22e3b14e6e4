package arch

import (
	"path"
	"strings"
)

// platformKnowsNoModule: the platform imports neither a module nor what is
// built on modules; not in its tests either.
func platformKnowsNoModule(t *tree, fault func(string, ...any)) {
	for _, s := range t.sources {
		if !within(s.path, "platform") {
			continue
		}
		for _, imported := range s.imports {
			if folder := own(imported); folder != "" && !within(folder, "platform") {
				fault("%s: platform imports %s; it may import the platform only", s.path, imported)
			}
		}
	}
}

// contractsAreLeaves: a contract imports the standard library only, so that
// whoever speaks to a module depends on nothing else of it.
func contractsAreLeaves(t *tree, fault func(string, ...any)) {
	for _, s := range t.sources {
		name := moduleOf(s.dir())
		if name == "" || !within(s.dir(), contract(name)) || s.test {
			continue
		}
		for _, imported := range s.imports {
			if !standard(imported) {
				fault("%s: a contract imports %s; it may import the standard library only", s.path, imported)
			}
		}
	}
}

// modulesMeetInContracts: a module imports another one only through its
// contract, and nothing that is built on modules.
func modulesMeetInContracts(t *tree, fault func(string, ...any)) {
	for _, s := range t.sources {
		from := moduleOf(s.dir())
		if from == "" {
			continue
		}
		for _, imported := range s.imports {
			folder := own(imported)
			to := moduleOf(folder)
			switch {
			case folder == "" || within(folder, "platform") || to == from:
			case to == "":
				fault("%s: a module imports %s; it may import the platform and contracts", s.path, imported)
			case folder != contract(to):
				fault("%s: module %s imports %s; it may import only %s/%s of %s", s.path, from, imported, module, contract(to), to)
			}
		}
	}
}

// doorsAreForTheComposition: a module, and whatever else of it is not its
// contract, is imported only by cmd, by the tests of the whole product and by
// the module's own tests. The module itself may import its parts, as a gateway;
// a part does not import the whole.
func doorsAreForTheComposition(t *tree, fault func(string, ...any)) {
	for _, s := range t.sources {
		if within(s.path, "cmd") || within(s.path, "test") {
			continue
		}
		for _, imported := range s.imports {
			to := moduleOf(own(imported))
			if to == "" || own(imported) == contract(to) {
				continue
			}
			from := moduleOf(s.dir())
			another := from != "" && from != to // modulesMeetInContracts tells
			itself := from == to && (own(imported) != door(to) || s.test)
			if !another && !itself {
				fault("%s: imports %s; only cmd (and tests) may", s.path, imported)
			}
		}
	}
}

// productionNeedsNoTestTools: code that is not a test imports neither testing
// nor a package made for tests. Packages made for tests have names that end in
// "test"; test/ holds nothing else.
func productionNeedsNoTestTools(t *tree, fault func(string, ...any)) {
	for _, s := range t.sources {
		if s.test || within(s.path, "test") || strings.HasSuffix(s.dir(), "test") {
			continue
		}
		for _, imported := range s.imports {
			first, _, _ := strings.Cut(imported, "/")
			if first == "testing" || strings.HasSuffix(path.Base(imported), "test") ||
				strings.HasPrefix(imported, "github.com/stretchr/testify") || within(own(imported), "test") {
				fault("%s: production code imports %s", s.path, imported)
			}
		}
	}
}
