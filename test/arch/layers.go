package arch

import (
	"go/ast"
	"go/token"
	"regexp"
	"slices"
)

// busImports lists, for each package of the platform, the packages of the bus that it
// may import, from the bottom up. A package that is not listed may import none.
var busImports = map[string][]string{
	"platform/bus":              {"platform/bus/envelope", "platform/bus/internal/delivery"},
	"platform/bus/store":        {"platform/bus", "platform/bus/envelope"},
	"platform/bus/admin":        {"platform/bus", "platform/bus/envelope", "platform/bus/store"},
	"platform/bus/cluster":      {"platform/bus/store"},
	"platform/bus/work":         {"platform/bus", "platform/bus/store"},
	"platform/bus/engine":       {"platform/bus", "platform/bus/internal/delivery", "platform/bus/store", "platform/bus/work"},
	"platform/bus/relay":        {"platform/bus", "platform/bus/envelope", "platform/bus/store", "platform/bus/work"},
	"platform/bus/sqltransport": {"platform/bus", "platform/bus/cluster", "platform/bus/engine", "platform/bus/envelope", "platform/bus/relay", "platform/bus/store", "platform/bus/work"},
	"platform/bus/kafkabridge":  {"platform/bus", "platform/bus/envelope", "platform/bus/relay", "platform/bus/sqltransport", "platform/bus/store"},
	"platform/bus/deadletter":   {"platform/bus/cluster", "platform/bus/store"},
	"platform/bus/trace":        {"platform/bus", "platform/bus/envelope", "platform/bus/store"},
	"platform/outbound":         {"platform/bus"},
	"platform/module":           {"platform/bus"},
	"platform/bus/bustest":      {"platform/bus", "platform/bus/envelope", "platform/bus/sqltransport", "platform/bus/store", "platform/bus/admin"},
}

// importsGoOneWay: within the platform, a package of the bus is imported only by the
// packages above it. Tests may import any.
func importsGoOneWay(t *tree, fault func(string, ...any)) {
	for _, s := range t.sources {
		if s.test || !within(s.path, "platform") {
			continue
		}
		for _, imported := range s.imports {
			to := own(imported)
			if within(to, "platform/bus") && !slices.Contains(busImports[s.dir()], to) {
				fault("%s: imports %s; the packages of the bus that %s may import are %v (busImports)", s.path, imported, s.dir(), busImports[s.dir()])
			}
		}
	}
}

// withoutSQL are the packages whose statements are in platform/bus/store.
var withoutSQL = []string{"platform/bus/work", "platform/bus/engine", "platform/bus/relay", "platform/bus/sqltransport"}

var statement = regexp.MustCompile(`\b(?:SELECT|INSERT INTO|UPDATE|DELETE FROM)\s`)

// busSQLIsInTheStore: so that a table of the bus is named in one package.
func busSQLIsInTheStore(t *tree, fault func(string, ...any)) {
	for _, s := range t.sources {
		if s.test || !slices.Contains(withoutSQL, s.dir()) {
			continue
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			if text, ok := n.(*ast.BasicLit); ok && text.Kind == token.STRING && statement.MatchString(text.Value) {
				fault("%s: has the statement %.40s; SQL on the bus's tables is in platform/bus/store", s.path, text.Value)
			}
			return true
		})
	}
}
