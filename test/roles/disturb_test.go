//go:build slow

package roles_test

import (
	"context"
	"database/sql"
	"fmt"
	"hash/fnv"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/cmd/millrace/app"
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

	require.Contains(t, w.holders(), w.prefix+"in_inquiry")
	_, err = inquiry.ExecContext(t.Context(), `SELECT pg_advisory_unlock_all()`)
	require.NoError(t, err)
	require.NoError(t, publish())
	var offsets string
	require.NoError(t, w.admin.QueryRowContext(t.Context(), `SELECT string_agg("offset"::text, ' ' ORDER BY "offset") FROM payment.log WHERE partition = 1`).Scan(&offsets))
	require.Equal(t, "1 2", offsets, "no gap, and nothing twice")
}

// holders runs the query of docs/roles.md, in this database only, and returns what it
// shows, a line for each lock.
func (w *world) holders() string {
	w.t.Helper()
	document, err := os.ReadFile("../../docs/roles.md")
	require.NoError(w.t, err)
	query := regexp.MustCompile("(?s)```sql\n(SELECT .*?);").FindSubmatch(document)
	require.NotNil(w.t, query)
	rows, err := w.admin.QueryContext(w.t.Context(), string(query[1]))
	require.NoError(w.t, err)
	defer rows.Close()
	var lines []string
	for rows.Next() {
		var pid int
		var role, what, waiting sql.NullString
		require.NoError(w.t, rows.Scan(&pid, &role, &what, &waiting))
		lines = append(lines, fmt.Sprintf("%d %s %s %s", pid, role.String, what.String, waiting.String))
	}
	require.NoError(w.t, rows.Err())
	return strings.Join(lines, "\n")
}

// holding runs the statement on a connection of its own, in a transaction that stays open,
// and returns the pid.
func (w *world) holding(user, statement string) (pid int) {
	w.t.Helper()
	tx, err := w.open(w.as(user)+"&idle_in_transaction_session_timeout=0", 1).BeginTx(w.t.Context(), nil)
	require.NoError(w.t, err)
	w.t.Cleanup(func() { _ = tx.Rollback() })
	require.NoError(w.t, tx.QueryRowContext(w.t.Context(), `SELECT pg_backend_pid()`).Scan(&pid))
	_, err = tx.ExecContext(w.t.Context(), statement)
	require.NoError(w.t, err)
	return pid
}

// A lock that a module's role can take must not keep migrate from revoking its rights.
func TestMigrate_RevokesDespiteAdvisoryLocksOfAModulesRole(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "CREATEROLE")
	require.NoError(t, w.migrate())
	w.do(`GRANT SELECT ON payment.queue TO ` + w.prefix + `inquiry`)
	w.holding(w.user("in_inquiry", "inquiry"), `SELECT pg_advisory_lock(hashtextextended('millrace grant', 0))`)
	require.NoError(t, w.migrate())
	require.False(t, w.holds(`has_table_privilege('$inquiry', 'payment.queue', 'SELECT')`))
}

// What somebody else can still hold is waited for a few seconds only. The error names the
// holder and how to end it.
func TestMigrate_NamesTheForeignHolderOfALock(t *testing.T) {
	t.Parallel()
	ofMigration := func(name string) string {
		h := fnv.New64a()
		_, _ = h.Write([]byte("millrace migrate " + name))
		return fmt.Sprintf(`SELECT pg_advisory_lock(%d)`, int64(h.Sum64()))
	}
	for name, c := range map[string]struct {
		migrated    bool
		grant, hold string
		lock        string // as docs/roles.md shows it
	}{
		"Schema":    {false, `SELECT`, ofMigration("create bus"), "ExclusiveLock on advisory"},
		"Migration": {false, `SELECT`, ofMigration("bus"), "ExclusiveLock on advisory"},
		"Table":     {true, `GRANT USAGE ON SCHEMA bus TO $; GRANT UPDATE ON bus.bus_version TO $`, `LOCK TABLE bus.bus_version IN SHARE UPDATE EXCLUSIVE MODE`, "ShareUpdateExclusiveLock on bus.bus_version"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "CREATEROLE")
			if c.migrated {
				require.NoError(t, w.migrate())
			}
			stranger := w.user("stranger")
			w.do(strings.ReplaceAll(c.grant, "$", stranger))
			pid := w.holding(stranger, c.hold)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cfg := w.config(w.as(w.owner))
			database, err := app.OpenDatabase(ctx, cfg, nil)
			require.NoError(t, err)
			_, err = app.MigrateAndRevoke(ctx, cfg, database, true)
			require.NoError(t, ctx.Err())
			require.Equal(t, errs.Resource, errs.KindOf(err), "%v", err)
			require.ErrorContains(t, err, fmt.Sprintf("process %d (role %s; SELECT pg_terminate_backend(%[1]d) ends it)", pid, stranger))
			require.Contains(t, w.holders(), fmt.Sprintf("%d %s %s ", pid, stranger, c.lock))
			w.do(fmt.Sprintf(`SELECT pg_terminate_backend(%d, 5000)`, pid))
			require.NoError(t, w.migrate())
		})
	}
}
