//go:build slow

package roles_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/platform/errs"
)

// foreign are objects that a module's role can create with a right too many: what
// grants it, what the role does, how migrate names the object, and the statement that
// mends it ($ is the role prefix).
var foreign = map[string]struct{ grant, create, names, fix string }{
	"FunctionInBus":     {`GRANT CREATE ON SCHEMA bus TO $inquiry`, `CREATE FUNCTION bus.hashtext(text) RETURNS int LANGUAGE sql AS 'SELECT 1'`, "function bus.hashtext(pg_catalog.text) of role $inquiry", `DROP FUNCTION bus.hashtext(pg_catalog.text)`},
	"ProcedureInModule": {`GRANT CREATE, USAGE ON SCHEMA payment TO $inquiry`, `CREATE PROCEDURE payment.p() LANGUAGE sql AS 'SELECT 1'`, "procedure payment.p()", `DROP PROCEDURE payment.p()`},
	"Aggregate":         {`GRANT CREATE ON SCHEMA bus TO $inquiry`, `CREATE AGGREGATE bus.count_all(int) (SFUNC = int4pl, STYPE = int)`, "aggregate bus.count_all(integer)", `ALTER AGGREGATE bus.count_all(integer) OWNER TO "$owner"`},
	"Table":             {`GRANT CREATE ON SCHEMA bus TO $inquiry`, `CREATE TABLE bus.extra (id serial PRIMARY KEY)`, "table bus.extra", `DROP TABLE bus.extra`},
	"View":              {`GRANT CREATE ON SCHEMA bus TO $inquiry`, `CREATE VIEW bus.pg_roles AS SELECT 1 AS oid`, "view bus.pg_roles", `DROP VIEW bus.pg_roles`},
	"MaterializedView":  {`GRANT CREATE ON SCHEMA bus TO $inquiry`, `CREATE MATERIALIZED VIEW bus.m AS SELECT 1 AS oid`, "materialized view bus.m", `DROP MATERIALIZED VIEW bus.m`},
	"Sequence":          {`GRANT CREATE ON SCHEMA bus TO $inquiry`, `CREATE SEQUENCE bus.s`, "sequence bus.s", `DROP SEQUENCE bus.s`},
	"Domain":            {`GRANT CREATE ON SCHEMA bus TO $inquiry`, `CREATE DOMAIN bus.txt AS text`, "type bus.txt", `DROP TYPE bus.txt`},
	"CompositeType":     {`GRANT CREATE ON SCHEMA bus TO $inquiry`, `CREATE TYPE bus.pair AS (a int, b int)`, "type bus.pair", `ALTER TYPE bus.pair OWNER TO "$owner"`},
	"Operator": {`GRANT CREATE ON SCHEMA bus TO $inquiry`, `CREATE OPERATOR bus.= (FUNCTION = int42eq, LEFTARG = int, RIGHTARG = smallint)`,
		"operator bus.=(integer,smallint)", `DROP OPERATOR bus.=(integer,smallint)`},
	"Collation":     {`GRANT CREATE ON SCHEMA bus TO $inquiry`, `CREATE COLLATION bus.c FROM "C"`, "collation bus.c", `DROP COLLATION bus.c`},
	"Conversion":    {`GRANT CREATE ON SCHEMA bus TO $inquiry`, `CREATE CONVERSION bus.v FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8`, "conversion bus.v", `DROP CONVERSION bus.v`},
	"SearchConfig":  {`GRANT CREATE ON SCHEMA bus TO $inquiry`, `CREATE TEXT SEARCH CONFIGURATION bus.t (COPY = simple)`, "text search configuration bus.t", `DROP TEXT SEARCH CONFIGURATION bus.t`},
	"SearchDict":    {`GRANT CREATE ON SCHEMA bus TO $inquiry`, `CREATE TEXT SEARCH DICTIONARY bus.d (TEMPLATE = simple)`, "text search dictionary bus.d", `DROP TEXT SEARCH DICTIONARY bus.d`},
	"Statistics":    {`GRANT CREATE ON SCHEMA bus, public TO $inquiry`, `CREATE TABLE public.bait (a int, b int); CREATE STATISTICS bus.st ON a, b FROM public.bait`, "statistics object bus.st", `DROP STATISTICS bus.st`},
	"OddName":       {`GRANT CREATE ON SCHEMA bus TO $inquiry`, `CREATE FUNCTION bus."a""; DROP TABLE x"() RETURNS int LANGUAGE sql AS 'SELECT 1'`, `function bus."a""; DROP TABLE x"()`, `DROP FUNCTION bus."a""; DROP TABLE x"()`},
	"EscapesInName": {`GRANT CREATE ON SCHEMA bus TO $inquiry`, "CREATE FUNCTION bus.\"a\x1b[2J\nb\"() RETURNS int LANGUAGE sql AS 'SELECT 1'", `a\x1b[2J\nb`, ``},
	"Trigger": {`GRANT TRIGGER ON bus.nodes TO $inquiry; GRANT CREATE ON SCHEMA public TO $inquiry`,
		`CREATE FUNCTION public.steal() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; CREATE TRIGGER steal AFTER DELETE ON bus.nodes EXECUTE FUNCTION public.steal()`,
		"trigger steal on bus.nodes", `DROP TRIGGER steal ON bus.nodes`},
	"ForeignKey": {`GRANT REFERENCES ON bus.nodes TO $inquiry; GRANT CREATE ON SCHEMA public TO $inquiry`,
		`CREATE TABLE public.bait (node uuid REFERENCES bus.nodes ON DELETE CASCADE)`, "table constraint bait_node_fkey on public.bait", `ALTER TABLE public.bait DROP CONSTRAINT bait_node_fkey`},
}

// An object that a module's role created in a schema of the owner could run with the
// owner's rights when it migrates. So migrate runs nothing before all are gone.
func TestMigrate_RefusesObjectsThatAreNotTheOwners(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "CREATEROLE")
	require.NoError(t, w.migrate())
	with := func(text string) string { return strings.ReplaceAll(text, "$", w.prefix) }
	inquiry := w.open(w.as(w.user("in_inquiry", "inquiry")), 1)
	owner := w.open(w.as(w.owner), 1) // a member of the modules' roles, since it created them
	for name, c := range foreign {
		t.Run(name, func(t *testing.T) {
			w.do(with(c.grant))
			_, err := inquiry.ExecContext(t.Context(), with(`SET ROLE $inquiry; `)+c.create)
			require.NoError(t, err)
			err = w.migrate() // takes the right; what was created with it stays
			require.Equal(t, errs.Forbidden, errs.KindOf(err), "%v", err)
			require.ErrorContains(t, err, with(c.names))
			require.ErrorContains(t, err, with(c.fix))
			if c.fix != "" {
				_, err = owner.ExecContext(t.Context(), with(c.fix))
				require.NoError(t, err)
			}
			w.do(with("DROP FUNCTION IF EXISTS bus.\"a\x1b[2J\nb\"; " + `DROP TABLE IF EXISTS public.bait; DROP FUNCTION IF EXISTS public.steal`))
		})
	}
	require.NoError(t, w.migrate())
}

// The function would fit a call of the migration better than the server's own.
func TestMigrate_RunsNothingOfAForeignObject(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "CREATEROLE")
	require.NoError(t, w.migrate())
	with := func(text string) string { return strings.ReplaceAll(text, "$", w.prefix) }
	w.do(with(`GRANT CREATE ON SCHEMA bus TO $inquiry`))
	_, err := w.open(w.as(w.user("in_inquiry", "inquiry")), 1).ExecContext(t.Context(), with(`
		CREATE FUNCTION bus.hashtextextended(text, integer) RETURNS bigint LANGUAGE plpgsql AS 'BEGIN GRANT "$payment" TO "$inquiry"; RETURN 1; END'`))
	require.NoError(t, err)
	require.ErrorContains(t, w.migrate(), "bus.hashtextextended(pg_catalog.text,integer)")
	require.False(t, w.holds(`pg_has_role('$inquiry', '$payment', 'MEMBER')`))
	require.False(t, w.holds(`has_schema_privilege('$inquiry', 'bus', 'CREATE')`), "it can put nothing in its place")
}

// No version needs a right to create, so none is left to a role while a process seems to live.
func TestMigrate_RevokesRightsToCreateWhileProcessesLive(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "CREATEROLE")
	require.NoError(t, w.migrate())
	w.do(`INSERT INTO bus.nodes (id, modules, subscriptions, expires_at) VALUES (gen_random_uuid(), '{}', '{}', clock_timestamp() + interval '100 seconds')`)
	w.do(strings.ReplaceAll(`GRANT CREATE ON SCHEMA bus TO $inquiry; GRANT TRIGGER, REFERENCES ON payment.log TO $inquiry; GRANT REFERENCES (id) ON payment.queue TO $inquiry`, "$", w.prefix))
	require.NoError(t, w.migrate())
	for _, question := range []string{
		`has_schema_privilege('$inquiry', 'bus', 'CREATE')`, `has_table_privilege('$inquiry', 'payment.log', 'TRIGGER, REFERENCES')`,
		`has_any_column_privilege('$inquiry', 'payment.queue', 'REFERENCES')`,
	} {
		require.False(t, w.holds(question), question)
	}
}

// Who can act as the owner anyway may have created tables: another login of the
// operator's that is a member of the owner's role, and a superuser.
func TestMigrate_AcceptsObjectsOfTheOwnersMembersAndOfSuperusers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "CREATEROLE")
	with := func(text string) string { return strings.ReplaceAll(text, "$", w.prefix) }
	w.do(with(`CREATE ROLE $group CREATEROLE; GRANT $group TO $owner; CREATE ROLE $second LOGIN PASSWORD '` + password + `' CREATEROLE IN ROLE $group`))
	w.do(`DO $do$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO ` + w.prefix + `group', current_database()); END $do$`)
	asGroup := w.config(w.as(w.owner) + "&role=" + w.prefix + "group")
	require.NoError(t, w.migrateAs(asGroup), "the schemas belong to the group")
	w.do(with(`CREATE TABLE bus.of_superuser (); CREATE TABLE bus.of_owner (); ALTER TABLE bus.of_owner OWNER TO $owner;
		CREATE FUNCTION bus.of_second() RETURNS int LANGUAGE sql AS 'SELECT 1'; ALTER FUNCTION bus.of_second() OWNER TO $second`))
	require.NoError(t, w.migrateAs(w.config(w.as(w.prefix+"second"))))
	require.NoError(t, w.migrate())
}

// Other programs may use the schema public, with objects of anybody's.
func TestMigrate_AcceptsForeignObjectsInSchemaPublic(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "CREATEROLE")
	w.do(`CREATE EXTENSION pg_trgm SCHEMA public; GRANT CREATE ON SCHEMA public TO PUBLIC`)
	_, err := w.open(w.as(w.user("anybody")), 1).ExecContext(t.Context(), `CREATE TABLE public.accounts (id int)`)
	require.NoError(t, err)
	require.NoError(t, w.migrate())
	require.NoError(t, w.migrate())
}

// Who creates a module's schema before the first migration would own what is in it.
func TestMigrate_RefusesAForeignSchema(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "CREATEROLE")
	squatter := w.user("squatter")
	w.do(`CREATE SCHEMA payment AUTHORIZATION ` + squatter + `; GRANT ALL ON SCHEMA payment TO ` + w.owner)
	err := w.migrate()
	require.ErrorContains(t, err, "schema payment of role "+squatter+`: DROP SCHEMA payment; or ALTER SCHEMA payment OWNER TO "`+w.owner+`"`)
	require.False(t, w.holds(`EXISTS (SELECT FROM pg_namespace WHERE nspname = 'bus')`), "nothing was changed")
}
