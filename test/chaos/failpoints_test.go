//go:build chaos

package chaos_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/test/ports"
)

// ways has, for steps and failpoints, how to make the program reach them; the default is underLoad.
var ways = map[string]func(w *world, name, armed string) *load{
	"migrate":  whileStarting,
	"start":    whileStarting,
	"shutdown": whileEnding,
	"requeue":  whileOperating,
	"topics":   whileStarting,

	"relay.registered":     whileStarting,
	"lease.before_release": whileSharing,
	"lease.released":       whileSharing,
	"notify.before_send":   whileSharing,
}

// passages has, for failpoints, at which passage the process dies; the default is the tenth.
var passages = map[string]int{
	"migrate.schema_created": 9, "migrate.migrated": 9, "start.registered": 3, "relay.registered": 3, // before the last passage
	"lease.renewed": 3, "lease.claimed": 2, "lease.before_release": 30, "lease.released": 30,
	"file.range_fixed": 3, "file.written": 3, "file.renamed": 3, "file.recorded": 3,
	"outbound.waiting": 2, "parked.failed_again": 3,
	"shutdown.drained": 1, "shutdown.lease_ended": 1,
	"requeue.before_commit": 1, "requeue.after_commit": 1,
	"topics.missing": 5, "topics.created": 5, "commands.before_delete": 1, "commands.deleted": 1,
}

// A process is killed at each failpoint. Nothing may be lost or duplicated.
func TestFailpoint_KillLosesAndDuplicatesNothing(t *testing.T) {
	t.Parallel()
	names := failpoints(t)
	require.Greater(t, len(names), 30, "the names were found: %v", names)
	for name := range passages {
		require.Contains(t, names, name, "it is gone from the source")
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nth := 10
			if n, ok := passages[name]; ok {
				nth = n
			}
			way := underLoad
			step, _, _ := strings.Cut(name, ".")
			place := placeOf(name)
			for _, key := range []string{step, name} {
				if named, ok := ways[key]; ok {
					way = named
				}
			}
			way(place(t), name, fmt.Sprintf("%s:%d", name, nth)).accounted()
		})
	}
}

// placeOf returns the constructor of a world in which the failpoint is reached.
func placeOf(name string) func(*testing.T, ...string) *world {
	switch step, _, _ := strings.Cut(name, "."); step {
	case "relay", "inbound", "forward", "consumer", "topics", "commands":
		return freshOnKafka
	}
	return fresh
}

// underLoad kills the program under load. Some messages fail, so that messages are
// parked, fail again, and are released.
func underLoad(w *world, name, armed string) *load {
	at := ports.Of(w.t)
	w.serve(at, "").stop()
	w.sabotage(9)
	p := w.launch(at, armed, "serve")
	l := w.load(3, at)
	p.dies(name)
	w.serve(at, "")
	l.accepts(5)
	return l
}

// whileStarting kills the program during its first start.
func whileStarting(w *world, name, armed string) *load {
	at := ports.Of(w.t)
	w.launch(at, armed, "serve").dies(name)
	w.serve(at, "")
	l := w.load(3, at)
	l.accepts(20)
	return l
}

// whileEnding kills the program during a shutdown under load.
func whileEnding(w *world, name, armed string) *load {
	at := ports.Of(w.t)
	p := w.serve(at, armed)
	l := w.load(3, at)
	l.accepts(30)
	require.NoError(w.t, p.Process.Signal(os.Interrupt))
	p.dies(name)
	w.serve(at, "")
	l.accepts(5)
	return l
}

// whileSharing kills the program while a second process joins.
func whileSharing(w *world, name, armed string) *load {
	first, second := ports.Of(w.t), ports.Of(w.t)
	p := w.serve(first, armed)
	l := w.load(3, first)
	l.accepts(20)
	w.serve(second, "")
	p.dies(name)
	l.at(second)
	w.serve(first, "")
	l.accepts(20)
	return l
}

// whileOperating kills the operator's command that retries a dead letter.
func whileOperating(w *world, name, armed string) *load {
	at := ports.Of(w.t)
	w.serve(at, "")
	w.sabotage(1)
	l := w.load(1, at)
	w.becomes("true", `SELECT count(*) > 2 FROM delivery.parked_messages WHERE state = 'dead'`)
	w.rescue()
	l.end()
	letters := strings.Fields(w.one(`SELECT string_agg('delivery/' || id, ' ' ORDER BY id) FROM delivery.parked_messages WHERE state = 'dead'`))
	w.launch(at, armed, append([]string{"deadletters", "retry"}, letters[0])...).dies(name)
	for _, module := range w.topo.Modules() {
		w.until(func() string { // messages that fail meanwhile become dead letters, too
			dead := w.one(`SELECT coalesce(string_agg('` + module + `/' || id, ' '), '') FROM ` + module + `.parked_messages WHERE state = 'dead'`)
			if dead != "" {
				_ = w.launch(at, "", append([]string{"deadletters", "retry"}, strings.Fields(dead)...)...).wait("retry")
			}
			return w.one(`SELECT coalesce(string_agg(state, ' '), '') FROM ` + module + `.parked_messages`)
		})
	}
	return l
}

// sabotage makes every nth insert of an effect fail.
func (w *world) sabotage(nth int) {
	w.exec(`CREATE SEQUENCE public.sabotage`)
	w.exec(fmt.Sprintf(`CREATE FUNCTION public.sabotage() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		IF nextval('public.sabotage') %% %d = 0 THEN RAISE EXCEPTION 'sabotage'; END IF; RETURN NEW; END $$`, nth))
	for _, table := range []string{"delivery.deliveries", "notification.notifications", "dataplatform.record"} {
		w.exec(`CREATE TRIGGER sabotage BEFORE INSERT ON ` + table + ` FOR EACH ROW EXECUTE FUNCTION public.sabotage()`)
	}
}

// rescue ends the sabotage.
func (w *world) rescue() { w.exec(`DROP FUNCTION public.sabotage CASCADE`) }

// failpoints returns the names of all failpoints in the source.
func failpoints(t *testing.T) (names []string) {
	t.Helper()
	err := filepath.WalkDir("../..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && path != "../.." && strings.HasPrefix(entry.Name(), ".") {
			return fs.SkipDir
		}
		if filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			called, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || called.Sel.Name != "Here" {
				return true
			}
			if from, ok := called.X.(*ast.Ident); !ok || from.Name != "failpoint" {
				return true
			}
			literal, ok := call.Args[0].(*ast.BasicLit)
			require.True(t, ok, "%s: the name of a failpoint is a literal", path)
			name, err := strconv.Unquote(literal.Value)
			require.NoError(t, err)
			require.NotContains(t, names, name, "%s: the name is taken", path)
			names = append(names, name)
			return true
		})
		return nil
	})
	require.NoError(t, err)
	slices.Sort(names)
	return names
}
