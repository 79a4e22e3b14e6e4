package arch

import (
	"go/ast"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// sqlNamesNoSchema: a module's SQL is unqualified, so that its schema, and
// later its database, is configuration; least of all does it name another's.
func sqlNamesNoSchema(t *tree, fault func(string, ...any)) {
	names := t.modules()
	if len(names) == 0 {
		return
	}
	qualified := regexp.MustCompile(`(?i)\b(?:from|join|into|update|table|references|truncate|using|exists|index\s+\w+\s+on|trigger\s+on)\s+"?(?:` +
		strings.Join(names, "|") + `)"?\s*\.\s*"?\w+|\bsearch_path\b`)
	for name, text := range t.texts {
		if moduleOf(path.Dir(name)) != "" && path.Ext(name) == ".sql" {
			for _, found := range qualified.FindAllString(text, -1) {
				fault("%s: %q names a schema", name, found)
			}
		}
	}
	for _, s := range t.sources {
		if moduleOf(s.dir()) == "" || s.test {
			continue
		}
		eachString(s.ast, func(text string) {
			for _, found := range qualified.FindAllString(text, -1) {
				fault("%s: %q names a schema", s.path, found)
			}
		})
	}
}

// definersAreNotPublic: PostgreSQL lets everybody call a new function, so one that
// runs with its owner's rights is taken from PUBLIC in the migration that makes it.
func definersAreNotPublic(t *tree, fault func(string, ...any)) {
	revoked := regexp.MustCompile(`(?i)REVOKE ALL ON (FUNCTION|ROUTINE|ALL FUNCTIONS)\b[^;]*\bFROM PUBLIC\b`)
	for name, text := range t.texts {
		older := slices.Contains([]string{"00001_bus.sql", "00003_append_one.sql"}, path.Base(name)) // 00006_not_public.sql does it
		if path.Ext(name) == ".sql" && strings.Contains(strings.ToUpper(text), "SECURITY DEFINER") && !older && !revoked.MatchString(text) {
			fault("%s: a SECURITY DEFINER function, and no REVOKE ALL ON FUNCTION … FROM PUBLIC", name)
		}
	}
}

// eachString calls f with every string literal of a file.
func eachString(file *ast.File, f func(string)) {
	ast.Inspect(file, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if text, err := strconv.Unquote(lit.Value); err == nil {
				f(text)
			}
		}
		return true
	})
}

// handlersTouchOnlyTheirTransaction: what talks to the outside is not imported
// where messages are handled; an outbound call is recorded instead.
func handlersTouchOnlyTheirTransaction(t *tree, fault func(string, ...any)) {
	for _, s := range t.sources {
		if moduleOf(s.dir()) == "" || path.Base(s.path) != "handlers.go" {
			continue
		}
		for _, imported := range s.imports {
			if imported == "net" || strings.HasPrefix(imported, "net/") || imported == "os" || imported == "database/sql" ||
				own(imported) == "platform/mail" || own(imported) == "platform/web" {
				fault("%s: imports %s; a handler touches nothing but its transaction", s.path, imported)
			}
		}
	}
}

// contractNamesBelongToTheirOwner: a message's name is a string literal that
// begins with the module's name, in the module's contract.
func contractNamesBelongToTheirOwner(t *tree, fault func(string, ...any)) {
	for _, s := range t.sources {
		name := moduleOf(s.dir())
		if name == "" || s.test {
			continue
		}
		for _, declared := range s.ast.Decls {
			f, ok := declared.(*ast.FuncDecl)
			if !ok || f.Recv == nil || (f.Name.Name != "EventName" && f.Name.Name != "CommandName") {
				continue
			}
			if s.dir() != contract(name) {
				fault("%s: %s is declared outside %s", s.path, f.Name.Name, contract(name))
			}
			literal := ""
			ast.Inspect(f, func(n ast.Node) bool {
				if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					literal, _ = strconv.Unquote(lit.Value) // the parser accepted it
				}
				return true
			})
			if !strings.HasPrefix(literal, name+".") {
				fault("%s: %s is %q; it begins with %q", s.path, f.Name.Name, literal, name+".")
			}
		}
	}
}

// private matches paths that exist on somebody's machine only. It is put
// together here so that this file does not match.
var private = regexp.MustCompile(strings.Join([]string{
	`/wo` + `rk/`, `/ho` + `me/\w+`, `/Us` + `ers/\w`, `/ro` + `ot/`, `\.\./sha` + `red`, `C:\\Us` + `ers`,
}, "|"))

func noPrivatePaths(t *tree, fault func(string, ...any)) {
	for name, text := range t.texts {
		for i, line := range strings.Split(text, "\n") {
			if found := private.FindString(line); found != "" && found != "/home/linuxbrew" { // Homebrew's own folder
				fault("%s:%d: %q is a path of one machine", name, i+1, found)
			}
		}
	}
}

// testsNeitherSleepNorSkip: a test waits for a signal with a deadline, and one
// without what it needs fails.
func testsNeitherSleepNorSkip(t *tree, fault func(string, ...any)) {
	for _, s := range t.sources {
		if !s.test && !within(s.path, "test") {
			continue
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			call, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			on, _ := call.X.(*ast.Ident)
			if on != nil && on.Name == "time" && call.Sel.Name == "Sleep" || slices.Contains([]string{"Skip", "Skipf", "SkipNow"}, call.Sel.Name) {
				fault("%s: calls %s", s.path, call.Sel.Name)
			}
			return true
		})
	}
}

// undone matches the words for work that somebody meant to do. It is put
// together here so that this file does not match.
var undone = regexp.MustCompile(`\b(?:TO` + `DO|FIX` + `ME)\b|(?i:not yet impl` + `emented)`)

func nothingIsLeftUndone(t *tree, fault func(string, ...any)) {
	for name, text := range t.texts {
		for i, line := range strings.Split(text, "\n") {
			if found := undone.FindString(line); found != "" && !inTestdata(name) {
				fault("%s:%d: %s", name, i+1, found)
			}
		}
	}
}
