package roles_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/platform/errs"
)

// PostgreSQL has no rights on advisory locks, so every role can hold the publish locks.
// While another role holds them, a publisher waits and then fails with a resource
// error, and nothing is written.
func TestAdvisoryLocks_OfAnotherRoleDelayPublishingAndLoseNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "CREATEROLE")
	require.NoError(t, w.migrate())
	payment := w.open(w.as(w.user("in_payment", "payment")), 1)
	inquiry, err := w.open(w.as(w.user("in_inquiry", "inquiry")), 1).Conn(t.Context())
	require.NoError(t, err)
	defer inquiry.Close() //nolint:errcheck // it goes back to its pool
	publish := func() error {
		_, err := payment.ExecContext(t.Context(), `SELECT payment.append_log_one(1::smallint, gen_random_uuid(), 'payment.failed', 'k', '{}', '{}')`)
		return err
	}
	require.NoError(t, publish())
	_, err = inquiry.ExecContext(t.Context(), `SELECT pg_advisory_lock(hashtext('payment.events'), p) FROM generate_series(0, 63) AS p`)
	require.NoError(t, err)
	require.Equal(t, errs.Resource, errs.KindOf(publish()), "a wait, which uses up no attempt")

	var holder string // with the query of docs/roles.md
	require.NoError(t, w.admin.QueryRowContext(t.Context(), `
		SELECT string_agg(DISTINCT usename, ' ') FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' AND granted AND datname = current_database()`).Scan(&holder))
	require.Equal(t, w.prefix+"in_inquiry", holder)
	_, err = inquiry.ExecContext(t.Context(), `SELECT pg_advisory_unlock_all()`)
	require.NoError(t, err)
	require.NoError(t, publish())
	var offsets string
	require.NoError(t, w.admin.QueryRowContext(t.Context(), `SELECT string_agg("offset"::text, ' ' ORDER BY "offset") FROM payment.log WHERE partition = 1`).Scan(&offsets))
	require.Equal(t, "1 2", offsets, "no gap, and nothing twice")
}
