package roles_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/cmd/millrace/app"
	"millrace/config"
	"millrace/platform/bus/sqltransport"
	"millrace/platform/errs"
)

// The append functions run with their owner's rights. If they wrote into a caller's
// temporary table of the same name, its triggers would run with these rights.
func TestAppend_IgnoresTemporaryTablesOfTheCaller(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "CREATEROLE")
	require.NoError(t, w.migrate())
	payment := w.open(w.as(w.user("in_payment", "payment")), 1)
	for _, statement := range []string{
		`CREATE TEMPORARY TABLE log (LIKE payment.log)`, `CREATE TEMPORARY TABLE queue (LIKE payment.queue)`, `GRANT ALL ON log, queue TO PUBLIC`,
		`SELECT payment.append_log_one(1::smallint, gen_random_uuid(), 'payment.failed', 'k', '{}', '{}')`,
		`SELECT payment.append_log('{1}', ARRAY[gen_random_uuid()], '{payment.failed}', '{k}', '{"{}"}', '{"{}"}')`,
		`SELECT payment.append_queue_one(1::smallint, gen_random_uuid(), 'payment.refund', 'k', '{}', '{}')`,
		`SELECT payment.append_queue('{1}', ARRAY[gen_random_uuid()], '{payment.refund}', '{k}', '{"{}"}', '{"{}"}')`,
	} {
		_, err := payment.ExecContext(t.Context(), statement)
		require.NoError(t, err, statement)
	}
	for _, table := range []string{"log", "queue"} {
		var real, temporary int
		require.NoError(t, payment.QueryRowContext(t.Context(), `SELECT (SELECT count(*) FROM payment.`+table+`), (SELECT count(*) FROM pg_temp.`+table+`)`).Scan(&real, &temporary))
		require.Equal(t, 2, real, table)
		require.Zero(t, temporary, table)
	}
	var open string
	require.NoError(t, w.admin.QueryRowContext(t.Context(), `
		SELECT coalesce(string_agg(p.oid::regprocedure::text, ', '), '') FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace
		WHERE prosecdef AND nspname !~ '^pg_' AND nspname <> 'information_schema'
		AND NOT EXISTS (SELECT FROM unnest(proconfig) c WHERE c ~ '^search_path=.*, ?pg_temp$')`).Scan(&open))
	require.Empty(t, open, "every function with its owner's rights looks into pg_temp last")
}

func TestMigrate_RestoresTheDeclaredRights(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "CREATEROLE")
	require.NoError(t, w.migrate())
	rights := func() (all string) {
		w.t.Helper()
		require.NoError(t, w.admin.QueryRowContext(t.Context(), `
			SELECT string_agg(o || ' ' || coalesce(acl, '-'), E'\n' ORDER BY o) FROM (
				SELECT n.nspname || '.' || c.relname AS o, concat((SELECT array_agg(a::text ORDER BY a::text) FROM unnest(c.relacl) a),
					(SELECT string_agg(attname || array(SELECT a::text FROM unnest(attacl) a ORDER BY 1)::text, ' ' ORDER BY attname) FROM pg_attribute WHERE attrelid = c.oid AND attacl IS NOT NULL)) AS acl
				FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
				UNION ALL SELECT nspname, (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(nspacl) a)::text FROM pg_namespace WHERE nspname !~ '^pg_'
				UNION ALL SELECT p.oid::regprocedure::text, (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(proacl) a)::text
				FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema') x`).Scan(&all))
		return all
	}
	was := rights()
	require.NoError(t, w.migrate())
	require.Equal(t, was, rights(), "twice is once")

	wrong := strings.NewReplacer("$", w.prefix).Replace(`
		GRANT UPDATE ON payment.log TO $delivery; GRANT UPDATE (payload) ON payment.log TO $payment; GRANT SELECT ON payment.payments TO $inquiry WITH GRANT OPTION;
		GRANT USAGE ON SCHEMA payment TO $inquiry; GRANT SELECT ON delivery.addresses TO PUBLIC; GRANT USAGE ON SCHEMA delivery TO PUBLIC;
		GRANT EXECUTE ON FUNCTION payment.append_log_one TO PUBLIC; GRANT USAGE ON SEQUENCE delivery.tracking_numbers TO $payment; GRANT CREATE ON SCHEMA bus TO $payment;
		REVOKE INSERT ON payment.payments FROM $payment; REVOKE USAGE ON SCHEMA bus FROM $delivery; REVOKE EXECUTE ON FUNCTION payment.append_queue FROM $delivery;
		REVOKE UPDATE (topic_id) ON bus.topics FROM $payment`)
	w.do(wrong)
	require.NotEqual(t, was, rights())
	require.NoError(t, w.migrate())
	require.Equal(t, was, rights())

	// A running process of an older version may need its rights, so only PUBLIC loses rights meanwhile.
	w.do(`INSERT INTO bus.nodes (id, modules, subscriptions, expires_at) VALUES (gen_random_uuid(), '{}', '{}', clock_timestamp() + interval '100 seconds')`)
	w.do(wrong)
	require.NoError(t, w.migrate())
	for question, answer := range map[string]bool{
		`has_table_privilege('` + w.prefix + `delivery', 'payment.log', 'UPDATE')`:     true,
		`has_table_privilege('` + w.prefix + `payment', 'payment.payments', 'INSERT')`: true,
		`has_table_privilege('public', 'delivery.addresses', 'SELECT')`:                false,
	} {
		var may bool
		require.NoError(t, w.admin.QueryRowContext(t.Context(), "SELECT "+question).Scan(&may))
		require.Equal(t, answer, may, question)
	}
	w.do(`DELETE FROM bus.nodes`)
	require.NoError(t, w.migrate())
	require.Equal(t, was, rights())
}

// Each module's role may write into bus.nodes, so a module can insert a node that does not
// exist. Migrate keeps rights while nodes are alive; this must not work for long.
func TestMigrate_RevokesRightsDespiteForgedNodes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "CREATEROLE")
	require.NoError(t, w.migrate())
	payment := w.open(w.as(w.user("in_payment", "payment")), 1)
	forge := func(until string) {
		t.Helper()
		_, err := payment.ExecContext(t.Context(), `INSERT INTO bus.nodes (id, modules, subscriptions, expires_at) VALUES (gen_random_uuid(), '{}', '{}', clock_timestamp() + `+until+`)`)
		require.NoError(t, err)
	}
	kept := func() (may bool) {
		t.Helper()
		require.NoError(t, w.admin.QueryRowContext(t.Context(), `SELECT has_table_privilege($1, 'payment.log', 'UPDATE')`, w.prefix+"delivery").Scan(&may))
		return may
	}
	tooMuch := `GRANT UPDATE ON payment.log TO ` + w.prefix + `delivery`

	w.do(tooMuch)
	forge(`interval '1 hour'`)
	forge(`interval '9999 years'`)
	require.NoError(t, w.migrate())
	require.False(t, kept(), "no lease is that long")

	w.do(tooMuch)
	forge(`interval '100 seconds'`) // a module could repeat this
	require.NoError(t, w.migrate())
	require.True(t, kept())
	cfg := w.config(w.as(w.owner))
	database, err := app.OpenDatabase(t.Context(), cfg, nil)
	require.NoError(t, err)
	left, err := app.MigrateAndRevoke(t.Context(), cfg, database, true)
	require.NoError(t, err)
	require.Empty(t, left)
	require.False(t, kept())
}

// If the owner may not create roles, migrate fails with the statements for an
// administrator. After these ran, migrate grants the rights.
func TestMigrate_AcceptsRolesThatAnAdministratorCreated(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	err := w.migrate()
	require.Equal(t, errs.Forbidden, errs.KindOf(err), "%v", err)
	_, statements, found := strings.Cut(err.Error(), "call it again: ")
	require.True(t, found, err.Error())
	require.Equal(t, len(app.Modules()), strings.Count(statements, "CREATE ROLE "+w.prefix))
	w.do(statements)
	require.NoError(t, w.migrate())
	served := w.config(w.as(w.user("in_payment", "payment")))
	served.Modules = []string{"payment"}
	require.NoError(t, w.start(served))
}

// start runs the checks of a program's start, and ends the program.
func (w *world) start(cfg config.Config) error {
	a, err := app.New(w.t.Context(), cfg, app.Options{Version: "test"})
	if err == nil {
		require.NoError(w.t, a.Close())
	}
	return err
}

func TestServe_NeedsNoOwnerAndNamesMissingRights(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "CREATEROLE")
	w.do(`CREATE ROLE ` + w.prefix + `early LOGIN PASSWORD '` + password + `'`)
	payment := w.config(w.as(w.prefix + "early"))
	payment.Modules, payment.Database.RolePrefix = []string{"payment"}, ""
	require.ErrorContains(t, w.start(payment), "run `millrace migrate` as their owner", "nothing is there yet")

	withoutRoles := w.config(w.as(w.owner))
	withoutRoles.Database.RolePrefix = ""
	require.NoError(t, w.migrateAs(withoutRoles))
	require.ErrorContains(t, w.start(payment), `lacks USAGE on bus, `, "no rights were given")

	require.NoError(t, w.migrate())
	require.ErrorContains(t, w.start(payment), "lacks", "a member of no role")
	w.do(`GRANT ` + w.prefix + `payment TO ` + w.prefix + `early`)
	require.NoError(t, w.start(payment))
	payment.Database.RolePrefix = w.prefix
	require.NoError(t, w.start(payment), "and as the role alone")
	payment.Transport, payment.Kafka.Brokers = config.OnKafka, []string{"127.0.0.1:9"}
	require.ErrorContains(t, w.start(payment), "on Kafka, give the process a database of its own")
	payment.Transport = config.Postgres
	payment.Modules = []string{"payment", "inquiry"}
	require.ErrorContains(t, w.start(payment), "which module inquiry needs")

	payment.Modules = []string{"payment"}
	for _, older := range []string{
		`DELETE FROM payment.bus_version WHERE version_id = 1`, `DELETE FROM payment.module_version WHERE version_id = 1`,
		`DELETE FROM payment.outbound_version WHERE version_id = 1`, `DELETE FROM bus.bus_version WHERE version_id = 1`,
	} {
		w.do(`CREATE TABLE public.kept AS TABLE ` + strings.Fields(older)[2] + `; ` + older)
		err := w.start(payment)
		require.Equal(t, errs.Forbidden, errs.KindOf(err), "%s: %v", older, err)
		require.ErrorContains(t, err, "the database is not up to date ("+strings.Split(strings.Fields(older)[2], ".")[0]+")")
		w.do(`DELETE FROM ` + strings.Fields(older)[2] + `; INSERT INTO ` + strings.Fields(older)[2] + ` OVERRIDING SYSTEM VALUE TABLE public.kept; DROP TABLE public.kept`)
	}
	require.NoError(t, w.start(payment))

	early := w.config(w.as(w.prefix + "early"))
	require.ErrorContains(t, w.migrateAs(early), "does not own the tables of this database")
}

// All modules run in one process, signed in as the owner. Each module's connections
// still have only the rights of its role.
func TestServe_AsOwnerUsesEachModulesRole(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "CREATEROLE")
	require.NoError(t, w.start(w.config(w.as(w.owner))), "it migrates, and makes the roles, itself")
	topology, err := app.Topology()
	require.NoError(t, err)
	transport, err := sqltransport.Open(t.Context(), sqltransport.Config{URL: w.as(w.owner), RolePrefix: w.prefix}, topology, []string{"payment", "delivery"})
	require.NoError(t, err)
	defer func() { require.NoError(t, transport.Close()) }()
	for _, module := range []string{"payment", "delivery"} {
		var user string
		require.NoError(t, transport.DB(module).QueryRowContext(t.Context(), `SELECT current_user`).Scan(&user))
		require.Equal(t, w.prefix+module, user)
	}

	outsider := w.config(w.as(w.user("nobody")))
	w.do(`GRANT ` + w.owner + ` TO ` + w.prefix + `nobody`) // owns the tables, but is not a member of the modules' roles
	for _, module := range app.Modules() {
		w.do(`REVOKE ` + w.prefix + module + ` FROM ` + w.owner + ` CASCADE`) // since PostgreSQL 16 the owner granted it to itself
	}
	require.ErrorContains(t, w.start(outsider), "is no member of "+w.prefix+"payment, the role of module payment: GRANT")
}
