package roles_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// In clusters of PostgreSQL 14 and before every role may create functions in the
// schema public. One that fits a call of `millrace migrate` better than the
// catalogue's must not run as the owner of the tables.
func TestMigrate_CallsNoFunctionOfTheSchemaPublic(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "CREATEROLE")
	require.NoError(t, w.migrate())
	w.do(`GRANT CREATE, USAGE ON SCHEMA public TO PUBLIC`)
	inquiry := w.user("in_inquiry", "inquiry")
	_, err := w.open(w.as(inquiry), 1).ExecContext(t.Context(), strings.NewReplacer("$user", inquiry, "$payment", w.prefix+"payment").Replace(`
		CREATE FUNCTION public.hashtextextended(text, integer) RETURNS bigint LANGUAGE plpgsql AS $f$ BEGIN
			GRANT $payment TO $user; RETURN 1; END $f$`))
	require.NoError(t, err)
	require.NoError(t, w.migrate())
	var member bool
	require.NoError(t, w.admin.QueryRowContext(t.Context(), `SELECT pg_has_role($1, $2, 'MEMBER')`, inquiry, w.prefix+"payment").Scan(&member))
	require.False(t, member)
}

// What every module's role may write is bounded, also where all nodes read it.
func TestRegistrations_AreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "CREATEROLE")
	require.NoError(t, w.migrate())
	db := w.open(w.as(w.user("in_inquiry", "inquiry")), 1)
	for _, statement := range []string{
		`INSERT INTO bus.registrations (subscriber, type) VALUES ('payment', repeat('x', 101))`,
		`INSERT INTO bus.registrations (subscriber, type) VALUES (repeat('x', 101), 'payment.refund')`,
		`INSERT INTO bus.nodes (id, modules, subscriptions, expires_at) VALUES (gen_random_uuid(), '{}', ARRAY[repeat('x', 1000001)], now())`,
		`INSERT INTO bus.nodes (id, modules, subscriptions, expires_at) VALUES (gen_random_uuid(), ARRAY[repeat('x', 100001)], '{}', now())`,
	} {
		_, err := db.ExecContext(t.Context(), statement)
		require.ErrorContains(t, err, "violates check constraint", statement)
	}
}
