package arch

import (
	"go/ast"
	"slices"
	"strings"
)

// the printer is what commands write through; the program's main hands it the
// process's own output.
const (
	printer    = "cmd/millrace/terminal"
	mainOutput = "cmd/millrace/main.go"
)

// around are ways to write that escape nothing.
var around = map[string][]string{
	"fmt":           {"Print", "Printf", "Println", "Fprint", "Fprintf", "Fprintln"},
	"os":            {"Stdout", "Stderr"},
	"encoding/json": {"NewEncoder"},
	"log":           {"Print", "Printf", "Println"},
}

// commandsWriteThroughThePrinter: what a command prints comes from messages, and
// a terminal obeys control sequences.
func commandsWriteThroughThePrinter(t *tree, fault func(string, ...any)) {
	for _, s := range t.sources {
		if s.test || !within(s.dir(), "cmd/millrace") || s.dir() == printer {
			continue
		}
		if slices.Contains(s.imports, "text/tabwriter") && !onlyFlags(s) {
			fault("%s: makes a table of its own; terminal.Printer has Table", s.path)
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				if builtin, ok := call.Fun.(*ast.Ident); ok && (builtin.Name == "print" || builtin.Name == "println") {
					fault("%s: calls %s; commands print through a terminal.Printer", s.path, builtin.Name)
				}
			}
			if selected, ok := n.(*ast.SelectorExpr); ok {
				on, _ := selected.X.(*ast.Ident)
				for imported, names := range around {
					base := imported[strings.LastIndex(imported, "/")+1:]
					if on != nil && on.Name == base && slices.Contains(names, selected.Sel.Name) && (imported != "os" || s.path != mainOutput) {
						fault("%s: uses %s.%s; commands print through a terminal.Printer", s.path, base, selected.Sel.Name)
					}
				}
			}
			return true
		})
	}
}

// onlyFlags reports whether a file takes nothing of text/tabwriter but the flags
// for Printer.Table.
func onlyFlags(s source) bool {
	only := true
	ast.Inspect(s.ast, func(n ast.Node) bool {
		if selected, ok := n.(*ast.SelectorExpr); ok {
			on, _ := selected.X.(*ast.Ident)
			if on != nil && on.Name == "tabwriter" && selected.Sel.Name != "AlignRight" {
				only = false
			}
		}
		return true
	})
	return only
}
