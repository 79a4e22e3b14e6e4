package delivery_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/modules/delivery"
	"millrace/modules/delivery/deliveryapi"
	"millrace/platform/bus"
	"millrace/platform/bus/bustest"
)

// The order lock makes the handler wait for the open transaction that sets the
// address. Without it the handler would miss the address, and the delivery would
// wait for one permanently.
func TestDelivery_ConcurrentAddressAndPaymentPrepareIt(t *testing.T) {
	t.Parallel()
	var db *bus.DB
	d := bustest.Start(t, func(handle *bus.DB) bustest.Module {
		db = handle
		return delivery.New(handle, delivery.Config{})
	})

	// The test locks the address's row, so that the request stops just before its
	// commit.
	undone := errors.New("undone")
	holds, release, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- db.InTx(t.Context(), func(tx *bus.Tx) error {
			if _, err := tx.ExecContext(t.Context(), `SET LOCAL idle_in_transaction_session_timeout = 0`); err != nil { // the transaction waits for the test
				return err
			}
			if _, err := tx.ExecContext(t.Context(), `INSERT INTO addresses (order_key, name, phone, postcode, line1, country) VALUES ($1, '', '', '', '', 'KR')`, order); err != nil {
				return err
			}
			close(holds)
			<-release
			return undone
		})
	}()
	<-holds
	answered := make(chan int, 1)
	go func() { answered <- d.Do("PUT /deliveries/goods-17/address", address("04524")).Code }()
	const waiting = `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`
	require.NoError(t, until(t.Context(), db, `SELECT (`+waiting+`) >= 1`))

	go func() {
		defer close(release)
		_ = until(t.Context(), db, `SELECT (`+waiting+`) >= 2 OR EXISTS (SELECT FROM deliveries)`) // an error makes the assertions below fail
	}()
	d.When(completed(order))
	require.ErrorIs(t, <-ended, undone)
	require.Equal(t, http.StatusOK, <-answered)
	d.Then(deliveryapi.Prepared{OrderKey: order})
}

// until repeats a query until it returns true.
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
