package versions_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// schema has the items of a database schema and the facts about each, such as a column's type.
type schema map[item]string

// item is a table, column, constraint, function and so on. of is the table that it
// belongs to, or the item's own name.
type item struct{ kind, of, name string }

// catalogueSQL reads all schemas except PostgreSQL's own, without the version tables
// of the migrations. Facts are words separated by semicolons.
//
// A rule (a constraint or a unique index) is identified by its definition, not by its name.
const catalogueSQL = `
WITH n AS (SELECT oid, nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'public')),
t AS (SELECT c.oid, format('%s.%s', nspname, relname) AS name, relkind FROM pg_class c JOIN n ON n.oid = relnamespace
	WHERE relkind IN ('r', 'p', 'v', 'm') AND relname NOT LIKE '%\_version')
SELECT 'table', name, '', '' FROM t
UNION ALL
SELECT 'column', name, attname::text, concat_ws(';', format_type(atttypid, atttypmod),
	CASE WHEN attnotnull THEN 'not null' END,
	CASE WHEN atthasdef OR attidentity <> '' THEN 'default' END)
FROM t JOIN pg_attribute ON attrelid = t.oid WHERE attnum > 0 AND NOT attisdropped
UNION ALL
SELECT 'rule', name, regexp_replace(regexp_replace(pg_get_constraintdef(c.oid), '^PRIMARY KEY', 'UNIQUE'), '\s+', ' ', 'g'),
	coalesce((SELECT string_agg(attname, ';' ORDER BY attnum) FROM pg_attribute WHERE attrelid = t.oid AND attnum = ANY(conkey)), '')
FROM t JOIN pg_constraint c ON conrelid = t.oid WHERE contype IN ('p', 'u', 'c', 'f', 'x')
UNION ALL
SELECT 'rule', name, regexp_replace(regexp_replace(pg_get_indexdef(indexrelid), '^.* USING btree ', 'UNIQUE '), '\s+', ' ', 'g'),
	coalesce((SELECT string_agg(attname, ';' ORDER BY attnum) FROM pg_attribute WHERE attrelid = t.oid AND attnum = ANY(indkey)), '')
FROM t JOIN pg_index ON indrelid = t.oid WHERE indisunique AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
UNION ALL
SELECT 'sequence', format('%s.%s', nspname, relname), '', '' FROM pg_class c JOIN n ON n.oid = relnamespace
WHERE relkind = 'S' AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'i')
	AND relname NOT LIKE '%\_version\_id\_seq'
UNION ALL
SELECT 'word', format('%s.%s', nspname, typname), enumlabel, '' FROM pg_enum JOIN pg_type ON pg_type.oid = enumtypid JOIN n ON n.oid = typnamespace
UNION ALL
SELECT 'function', format('%s.%s', nspname, proname), format('(%s)', oidvectortypes(proargtypes)), pg_get_function_result(p.oid)
FROM pg_proc p JOIN n ON n.oid = pronamespace`

// accepted lists findings of harm that break nothing, with the reason. For example,
// harm reports a wider CHECK as a new rule. Empty it after -record; an entry that harm
// no longer finds fails the test.
var accepted = map[string]string{}

// harm lists what breaks a version that was built for the schema before if it runs on
// the schema now, and what to do instead.
func harm(before, now schema) (all []string) {
	fault := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	for i, was := range before {
		if i.kind != "table" && i.kind != "function" && i.kind != "sequence" && i.kind != "word" && !now.has("table", i.of) {
			continue // reported with its table
		}
		is, there := now[i]
		switch {
		case i.kind == "rule" && !there && strings.HasPrefix(i.name, "UNIQUE"):
			fault("%s is not %s any more: ON CONFLICT of the version before needs it, and so may its promises", i.of, i.name)
		case i.kind == "rule": // a dropped rule breaks nothing
		case !there:
			fault("%s is gone: leave it for one release more, and drop it in the next", i)
		case i.kind == "column":
			for _, narrower := range narrowed(facts(was), facts(is)) {
				fault("%s %s", i, narrower)
			}
		case was != is:
			fault("%s returned %s, returns %s: give the new one another name", i, was, is)
		}
	}
	for i, fact := range now {
		if _, known := before[i]; known || !before.has("table", i.of) {
			continue
		}
		switch f := facts(fact); i.kind {
		case "column":
			if f.notNull && !f.byDefault {
				fault("new %s is not null, and has no default: the version before does not fill it; let it be null, or give it a default", i)
			}
		case "rule":
			if !onlyNew(i, fact, before, now) {
				fault("new rule on %s: %s: the version before may break it; add it in the next release", i.of, i.name)
			}
		}
	}
	slices.Sort(all)
	return all
}

func (s schema) has(kind, of string) bool {
	_, there := s[item{kind, of, ""}]
	return there
}

// column has the facts about a column.
type column struct {
	kind               string
	notNull, byDefault bool
}

func facts(text string) column {
	words := strings.Split(text, ";")
	return column{words[0], slices.Contains(words, "not null"), slices.Contains(words, "default")}
}

// narrowed lists which values a column does not accept or supply any more.
func narrowed(was, is column) (faults []string) {
	if was.kind != is.kind {
		faults = append(faults, fmt.Sprintf("was %s, is %s: add a column beside it, and fill both", was.kind, is.kind))
	}
	if !was.notNull && is.notNull {
		faults = append(faults, "may not be null any more: the version before may write that; refuse it in the next release")
	}
	if was.byDefault && !is.byDefault && is.notNull {
		faults = append(faults, "has no default any more: the version before relies on it")
	}
	return faults
}

// onlyNew reports whether a rule is only about columns that the previous version does
// not know, and holds for the values that this version leaves in them. A CHECK holds
// for their defaults, since the migration applied it to them; other rules hold for null.
func onlyNew(rule item, columns string, before, now schema) bool {
	for _, name := range strings.Split(columns, ";") {
		i := item{"column", rule.of, name}
		fact, there := now[i]
		if _, known := before[i]; known || !there {
			return false
		}
		if !strings.HasPrefix(rule.name, "CHECK") && facts(fact).byDefault {
			return false
		}
	}
	return true
}

func (i item) String() string {
	switch i.kind {
	case "column":
		return i.kind + " " + i.of + "." + i.name
	case "function":
		return i.kind + " " + i.of + i.name
	case "word":
		return i.kind + " " + i.of + " " + i.name
	}
	return i.kind + " " + i.of
}

// String returns a line for each item, sorted: kind, of, name and facts, separated by tabs.
func (s schema) String() string {
	lines := make([]string, 0, len(s))
	for i, fact := range s {
		lines = append(lines, strings.Join([]string{i.kind, i.of, i.name, fact}, "\t")+"\n")
	}
	slices.SortFunc(lines, cmp.Compare[string])
	return strings.Join(lines, "")
}

func parse(text string) (schema, error) {
	s := schema{}
	for n, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		fields := strings.Split(line, "\t")
		if len(fields) != 4 {
			return nil, fmt.Errorf("line %d: %q has not four fields, by tabs", n+1, line)
		}
		s[item{fields[0], fields[1], fields[2]}] = fields[3]
	}
	return s, nil
}
