package notification_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/modules/notification/notificationapi"
	"millrace/platform/bus"
)

// Without the lock on the user ID, the handler that runs during the contact's
// open transaction would not see the contact, and the notification would wait
// until the next releaseAll.
func TestSetContact_ConcurrentMessageIsNotMissed(t *testing.T) {
	t.Parallel()
	b := setup(t)

	// A deferred trigger stops the request just before its commit: it waits for
	// an advisory lock that a transaction of the test holds.
	for _, ddl := range []string{
		`CREATE FUNCTION stop_at_commit() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_xact_lock(17); RETURN NULL; END'`,
		`CREATE CONSTRAINT TRIGGER stop AFTER INSERT ON contacts DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION stop_at_commit()`,
	} {
		require.NoError(t, b.db.InTx(t.Context(), func(tx *bus.Tx) error {
			_, err := tx.ExecContext(t.Context(), ddl)
			return err
		}))
	}
	holds, release, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- b.db.InTx(t.Context(), func(tx *bus.Tx) error {
			if _, err := tx.ExecContext(t.Context(), `SET LOCAL idle_in_transaction_session_timeout = 0`); err != nil { // it is idle while the test runs
				return err
			}
			if _, err := tx.ExecContext(t.Context(), `SELECT pg_advisory_xact_lock(17)`); err != nil {
				return err
			}
			close(holds)
			<-release
			return nil
		})
	}()
	<-holds
	answered := make(chan int, 1)
	go func() { answered <- b.Do("PUT /contacts/1001", `{"email":"kim@example.com","language":"ko"}`).Code }()
	const waiting = `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`
	require.NoError(t, until(t.Context(), b.db, `SELECT (`+waiting+`) >= 1`))

	go func() {
		defer close(release)
		_ = until(t.Context(), b.db, `SELECT (`+waiting+`) >= 2 OR EXISTS (SELECT FROM notifications)`) // a timeout shows in the test's last check
	}()
	b.When(completed())
	require.NoError(t, <-ended)
	require.Equal(t, http.StatusOK, <-answered)
	b.Then(notificationapi.Sent{Subject: order})
}

// until polls until the query returns true.
func until(ctx context.Context, db *bus.DB, question string) error {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	for again := time.NewTicker(2 * time.Millisecond); ; {
		var so bool
		if err := db.QueryRowContext(ctx, question).Scan(&so); err != nil || so {
			return err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
