package arch

import (
	"go/ast"
	"go/token"
	"strconv"
	"strings"
)

// testsWatchTheirOwnDatabase: pg_locks and pg_stat_activity show the whole server, where
// other tests run. A test's query on them names its database, or a process or an
// application of its own.
func testsWatchTheirOwnDatabase(t *tree, fault func(string, ...any)) {
	for _, s := range t.sources {
		if !s.test && !within(s.path, "test") || within(s.path, "test/arch") {
			continue
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			lit, ok := n.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				return true
			}
			text, err := strconv.Unquote(lit.Value)
			if err != nil || !strings.Contains(text, "FROM pg_locks") && !strings.Contains(text, "FROM pg_stat_activity") {
				return true
			}
			for _, own := range []string{"datname", "pid = $", "pid = pg_backend_pid()", "application_name"} {
				if strings.Contains(text, own) {
					return true
				}
			}
			fault("%s: a query sees the locks or the connections of other tests: add WHERE datname = current_database(): %.80q", s.path, text)
			return true
		})
	}
}
