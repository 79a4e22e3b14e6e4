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

// Without the lock on the user's id the handler, which runs while the contact's
// transaction is open, would not see it and wait for it for ever.
func TestAContactAndAMessageAtTheSameMomentMeet(t *testing.T) {
	t.Parallel()
	b := setup(t)

	// The request stops just before its commit: a deferred trigger waits there
	// for a lock that a transaction of the test's holds.
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
			if _, err := tx.ExecContext(t.Context(), `SET LOCAL idle_in_transaction_session_timeout = 0`); err != nil { // it waits for the test
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
		_ = until(t.Context(), b.db, `SELECT (`+waiting+`) >= 2 OR EXISTS (SELECT FROM notifications)`) // the test's end tells
	}()
	b.When(completed())
	require.NoError(t, <-ended)
	require.Equal(t, http.StatusOK, <-answered)
	b.Then(notificationapi.Sent{Subject: order})
}

// until asks until the answer is true.
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
