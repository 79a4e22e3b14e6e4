//go:build slow

package roles_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/config"
	"millrace/platform/errs"
)

// holds returns the value of a boolean SQL expression like
// has_table_privilege('$payment', …). $ stands for the role prefix.
func (w *world) holds(question string) (yes bool) {
	w.t.Helper()
	question = strings.ReplaceAll(question, "$", w.prefix)
	require.NoError(w.t, w.admin.QueryRowContext(w.t.Context(), "SELECT "+question).Scan(&yes), question)
	return yes
}

// A REVOKE of a table right also revokes the column rights in PostgreSQL; migrate must
// grant these again.
func TestMigrate_RevokesATableRightButKeepsTheColumnRight(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "CREATEROLE")
	require.NoError(t, w.migrate())
	w.do(`GRANT UPDATE ON bus.topics TO ` + w.prefix + `payment`)
	require.NoError(t, w.migrate())
	require.False(t, w.holds(`has_table_privilege('$payment', 'bus.topics', 'UPDATE')`))
	require.True(t, w.holds(`has_column_privilege('$payment', 'bus.topics', 'topic_id', 'UPDATE')`))
}

func TestMigrate_RevokesGrantOptions(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "CREATEROLE")
	require.NoError(t, w.migrate())
	w.do(strings.ReplaceAll(`
		GRANT USAGE ON SCHEMA payment TO $inquiry;
		GRANT SELECT, DELETE ON payment.log TO $payment WITH GRANT OPTION; REVOKE SELECT ON payment.log FROM $delivery;
		SET ROLE $payment; GRANT SELECT, DELETE ON payment.log TO $inquiry; GRANT SELECT ON payment.log TO $delivery; RESET ROLE`, "$", w.prefix))
	require.NoError(t, w.migrate(), "rights depend on those that are taken")
	for question, answer := range map[string]bool{
		`has_table_privilege('$payment', 'payment.log', 'SELECT')`:                   true,
		`has_table_privilege('$payment', 'payment.log', 'SELECT WITH GRANT OPTION')`: false,
		`has_table_privilege('$payment', 'payment.log', 'DELETE')`:                   false,
		`has_table_privilege('$inquiry', 'payment.log', 'SELECT, DELETE')`:           false,
		`has_table_privilege('$delivery', 'payment.log', 'SELECT')`:                  true,
	} {
		require.Equal(t, answer, w.holds(question), question)
	}
}

// The owner can revoke only the rights that it granted. For other rights, migrate fails
// and names the statement that revokes them.
func TestMigrate_NamesRightsThatTheOwnerCannotRevoke(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "CREATEROLE")
	require.NoError(t, w.migrate())
	outsider := w.user("outsider")
	for name, c := range map[string]struct{ do, names, undo string }{
		"a member of another module's role": {`GRANT $delivery TO $payment`, `REVOKE "$delivery" FROM "$payment"`, ""},
		"a superuser":                       {`ALTER ROLE $payment SUPERUSER`, `ALTER ROLE "$payment" NOSUPERUSER`, ""},
		"from somebody else": {
			`GRANT USAGE ON SCHEMA payment TO ` + outsider + `; GRANT SELECT ON payment.log TO ` + outsider + ` WITH GRANT OPTION; SET ROLE ` + outsider + `; GRANT SELECT ON payment.log TO $inquiry; RESET ROLE`,
			`REVOKE SELECT ON TABLE payment.log FROM "$inquiry"`, `REVOKE SELECT ON payment.log FROM ` + outsider + ` CASCADE`},
	} {
		with := func(text string) string { return strings.ReplaceAll(text, "$", w.prefix) }
		w.do(with(c.do))
		err := w.migrate()
		require.Equal(t, errs.Forbidden, errs.KindOf(err), "%s: %v", name, err)
		require.ErrorContains(t, err, with(c.names), name)
		if c.undo == "" {
			c.undo = c.names
		}
		w.do(with(c.undo))
		require.NoError(t, w.migrate(), name)
	}
}

// Tables that a superuser's migration creates must belong to the owner, who could not
// run the program otherwise.
func TestMigrate_BySuperuserLeavesTheTablesToTheOwner(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "CREATEROLE")
	require.NoError(t, w.migrate())
	w.do(`DROP TABLE payment.outbound_calls, payment.outbound_version; DROP SCHEMA delivery CASCADE`)
	withoutRoles := func(url string) config.Config {
		cfg := w.config(url)
		cfg.Database.RolePrefix = ""
		return cfg
	}
	require.NoError(t, w.migrateAs(withoutRoles(w.url)))
	require.True(t, w.holds(`(SELECT bool_and(relowner = '$owner'::regrole) FROM pg_class WHERE relname IN ('outbound_calls', 'addresses'))`))
	require.NoError(t, w.start(withoutRoles(w.as(w.owner))))
	require.NoError(t, w.migrate())
}
