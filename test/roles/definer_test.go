package roles_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// By default PostgreSQL lets everybody call a new function. A SECURITY DEFINER
// function would give every caller its owner's rights.
func TestMigrate_LeavesNoDefinerFunctionToPublic(t *testing.T) {
	t.Parallel()
	for name, prefixed := range map[string]bool{"WithoutRoles": false, "WithRoles": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "CREATEROLE")
			cfg := w.config(w.as(w.owner))
			if !prefixed {
				cfg.Database.RolePrefix = ""
			}
			require.NoError(t, w.migrateAs(cfg))
			var all int
			var open string
			require.NoError(t, w.admin.QueryRowContext(t.Context(), `
				SELECT count(DISTINCT p.oid), coalesce(string_agg(p.oid::regprocedure::text, ', ') FILTER (WHERE grantee = 0), '')
				FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace, aclexplode(coalesce(proacl, acldefault('f', proowner)))
				WHERE prosecdef AND nspname !~ '^pg_' AND nspname <> 'information_schema'`).Scan(&all, &open))
			require.Empty(t, open, "everybody may call them")
			require.Positive(t, all)

			stranger := w.user("stranger")
			w.do(`GRANT USAGE ON SCHEMA payment TO ` + stranger)
			states := attempts(t.Context(), t, w.open(w.as(stranger), 1), []string{
				`SELECT payment.append_log_one(1::smallint, gen_random_uuid(), 'payment.failed', 'k', '{}', '{}')`,
				`SELECT payment.append_queue_one(1::smallint, gen_random_uuid(), 'payment.refund', 'k', '{}', '{}')`,
			})
			require.Equal(t, []string{refused, refused}, states)
		})
	}
}

// A deferred trigger runs with the rights of the function in which it fires. If it
// fired inside a SECURITY DEFINER function, a caller could run code as the owner.
func TestAppend_FiresNoTriggerOfTheCallerAsTheOwner(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "CREATEROLE")
	require.NoError(t, w.migrateAs(w.config(w.as(w.owner))))
	db := w.open(w.as(w.user("courier", "delivery")), 1)
	for _, statement := range []string{
		`CREATE TEMPORARY TABLE bait (i int)`,
		`CREATE TEMPORARY TABLE who (name text)`,
		`GRANT INSERT ON who TO PUBLIC`,
		`CREATE FUNCTION pg_temp.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO pg_temp.who SELECT current_user; RETURN NULL; END $$`,
		`CREATE CONSTRAINT TRIGGER note AFTER INSERT ON bait DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION pg_temp.note()`,
	} {
		_, err := db.ExecContext(t.Context(), statement)
		require.NoError(t, err, statement)
	}
	for _, call := range []string{
		`SELECT delivery.append_log('{}', '{}', '{}', '{}', '{}', '{}')`,
		`SELECT delivery.append_log_one(1::smallint, gen_random_uuid(), 'delivery.prepared', 'k', '{}', '{}')`,
		`SELECT delivery.append_queue('{}', '{}', '{}', '{}', '{}', '{}')`,
		`SELECT payment.append_queue_one(1::smallint, gen_random_uuid(), 'payment.refund', 'k', '{}', '{"ce_source":"delivery"}')`,
		`SELECT bus.check_deferred()`,
		`SELECT bus.lock('{a}', '{1}')`,
	} {
		tx, err := db.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		_, err = tx.ExecContext(t.Context(), `INSERT INTO bait VALUES (1)`)
		require.NoError(t, err)
		_, err = tx.ExecContext(t.Context(), call)
		require.NoError(t, err, call)
		require.NoError(t, tx.Commit())
		var owners, own int
		require.NoError(t, db.QueryRowContext(t.Context(), `SELECT count(*) FILTER (WHERE name <> session_user), count(*) FILTER (WHERE name = session_user) FROM who`).Scan(&owners, &own))
		require.Zero(t, owners, call)
		require.Positive(t, own, "the trigger fired with the caller's rights")
	}
}
