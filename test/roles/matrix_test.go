package roles_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"millrace/cmd/millrace/app"
)

var update = flag.Bool("update", false, "write testdata/matrix.txt")

const golden = "testdata/matrix.txt"

// stranger is a user without any role; its rights are those of PUBLIC.
const stranger = "stranger"

// thing is an entry of the catalogue: a table with its columns, a sequence, or a
// function.
type thing struct {
	name    string
	kind    string
	columns []string
	call    string // of a function: the call with NULL for each argument
}

// catalogue lists all tables, sequences and functions outside of PostgreSQL's own schemas.
func (w *world) catalogue() (things []thing, schemas []string) {
	w.t.Helper()
	rows, err := w.admin.QueryContext(w.t.Context(), `
		WITH n AS (SELECT oid, nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema')
		SELECT format('%I.%I', nspname, relname), CASE relkind WHEN 'S' THEN 'sequence' ELSE 'table' END, '',
			(SELECT array_agg(quote_ident(attname) ORDER BY attnum) FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped)
		FROM pg_class c JOIN n ON n.oid = relnamespace WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
		UNION ALL SELECT format('%I.%I', nspname, proname) || '()', 'function',
			format('%I.%I(%s)', nspname, proname, (SELECT string_agg('NULL::' || format_type(a, NULL), ', ' ORDER BY place) FROM unnest(proargtypes) WITH ORDINALITY AS u(a, place))), '{}'
		FROM pg_proc p JOIN n ON n.oid = pronamespace
		UNION ALL SELECT nspname, 'schema', '', '{}' FROM n
		ORDER BY 1`)
	require.NoError(w.t, err)
	defer rows.Close() //nolint:errcheck // Err returns its error
	for rows.Next() {
		var found thing
		require.NoError(w.t, rows.Scan(&found.name, &found.kind, &found.call, pq.Array(&found.columns)))
		if found.kind == "schema" {
			schemas = append(schemas, found.name)
			continue
		}
		things = append(things, found)
	}
	require.NoError(w.t, rows.Err())
	return things, schemas
}

// try is a statement that needs one right, and that right's letter in the matrix.
type try struct{ letter, column, statement string }

// tries returns a statement for each right on a thing. With the right, some statements
// still fail, but with another error: INSERT on a NOT NULL column, TRUNCATE on a
// foreign key.
func (th thing) tries() (all []try) {
	switch th.kind {
	case "sequence":
		return []try{{"N", "", "SELECT nextval('" + th.name + "')"}}
	case "function":
		return []try{{"X", "", "SELECT " + th.call}}
	}
	all = []try{
		{"S", "", "SELECT * FROM " + th.name + " LIMIT 0"},
		{"I", "", "INSERT INTO " + th.name + " DEFAULT VALUES"},
	}
	for _, column := range th.columns {
		all = append(all, try{"U", column, "UPDATE " + th.name + " SET " + column + " = DEFAULT WHERE false"})
	}
	return append(all,
		try{"D", "", "DELETE FROM " + th.name + " WHERE false"},
		try{"T", "", "TRUNCATE " + th.name})
}

// may returns the letters of the rights that a user has on a thing, given the results of tries.
func (w *world) may(th thing, tries []try, states []string) string {
	var word strings.Builder
	var columns []string
	for i, attempt := range tries {
		if states[i] != refused {
			// Any other error would hide whether the user has the right.
			require.Regexp(w.t, "^("+succeeded+"|23...|0A000|22...)$", states[i], attempt.statement)
			if attempt.letter == "U" {
				columns = append(columns, attempt.column)
				continue
			}
			word.WriteString(attempt.letter)
		}
	}
	switch {
	case len(columns) == 0:
	case len(columns) == len(th.columns):
		return strings.Replace(word.String(), "I", "IU", 1)
	default:
		return word.String() + "U(" + strings.Join(columns, ",") + ")"
	}
	return word.String()
}

// matrix tries every statement as every user, and returns the matrix as text.
func (w *world) matrix(users []string) string {
	w.t.Helper()
	things, _ := w.catalogue()
	cells := make([][]string, len(things))
	for _, user := range users {
		db := w.open(w.as(w.prefix+user), 1)
		var statements []string
		for _, th := range things {
			for _, attempt := range th.tries() {
				statements = append(statements, attempt.statement)
			}
		}
		states := attempts(w.t.Context(), w.t, db, statements)
		for i, th := range things {
			tries := th.tries()
			cells[i] = append(cells[i], w.may(th, tries, states[:len(tries)]))
			states = states[len(tries):]
		}
	}
	var out strings.Builder
	out.WriteString("# What each module's role may do, as tried. Tables: Select, Insert, Update, Delete, Truncate;\n" +
		"# sequences: Nextval; functions: eXecute. A stranger is a user without any role.\n")
	line := func(name string, words []string) {
		text := fmt.Sprintf("%-36s", name)
		for _, word := range words {
			text += fmt.Sprintf(" %-*s", 13, word)
		}
		out.WriteString(strings.TrimRight(text, " ") + "\n")
	}
	line("", users)
	schema := ""
	for i, th := range things {
		if s, _, _ := strings.Cut(th.name, "."); s != schema {
			schema = s
			out.WriteString("\n")
		}
		words := slices.Clone(cells[i])
		for k := range words {
			if words[k] == "" {
				words[k] = "·"
			}
		}
		line(th.name, words)
	}
	return out.String()
}

func (w *world) everybody() []string {
	users := append(app.Modules(), stranger)
	for _, name := range users {
		if name == stranger {
			w.user("in_" + name)
		} else {
			w.user("in_"+name, name)
		}
	}
	for i := range users {
		users[i] = "in_" + users[i]
	}
	return users
}

func TestRoles_HaveExactlyTheRightsOfTheMatrix(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "CREATEROLE")
	require.NoError(t, w.migrate())
	users := w.everybody()
	got := strings.ReplaceAll(w.matrix(users), "in_", "")
	if *update {
		require.NoError(t, os.WriteFile(golden, []byte(got), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(want), got, "if this is meant: -update")

	things, schemas := w.catalogue()
	var ddl, logs []string
	for _, th := range things {
		if th.kind == "table" {
			ddl = append(ddl, "ALTER TABLE "+th.name+" ADD COLUMN mine int", "DROP TABLE "+th.name+" CASCADE",
				"CREATE TRIGGER mine BEFORE INSERT ON "+th.name+" EXECUTE FUNCTION suppress_redundant_updates_trigger()", "CREATE INDEX ON "+th.name+" (("+th.columns[0]+"))")
		}
		if strings.HasSuffix(th.name, ".log") {
			logs = append(logs, "DELETE FROM "+th.name, "TRUNCATE "+th.name, "INSERT INTO "+th.name+" DEFAULT VALUES", "UPDATE "+th.name+` SET payload = ''`)
		}
	}
	require.Len(t, logs, 4*len(app.Modules()))
	for _, schema := range schemas {
		ddl = append(ddl, "CREATE TABLE "+schema+".mine (i int)", "CREATE FUNCTION "+schema+".mine() RETURNS int LANGUAGE sql AS 'SELECT 1'", "DROP SCHEMA "+schema+" CASCADE")
	}
	ddl = append(ddl, "CREATE SCHEMA mine", "CREATE ROLE mine", "SET ROLE "+w.owner, "GRANT "+w.prefix+"payment TO "+w.prefix+"in_"+stranger)
	for _, user := range users {
		all := append(slices.Clone(ddl), logs...)
		for i, state := range attempts(t.Context(), t, w.open(w.as(w.prefix+user), 1), all) {
			require.Equal(t, refused, state, "%s: %s", user, all[i])
		}
	}
}
