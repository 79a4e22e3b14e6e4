package delivery_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"millrace/modules/delivery"
	"millrace/platform/bus"
	"millrace/platform/bus/bustest"
)

// withDB is start, and also returns the module's database.
func withDB(t *testing.T) (d *bustest.Harness, db *bus.DB) {
	t.Helper()
	d = bustest.Start(t, func(own *bus.DB) bustest.Module {
		if own != nil {
			db = own
		}
		return delivery.New(own, delivery.Config{})
	})
	return d, db
}

// hold takes a lock in a transaction of its own. release ends the transaction and
// returns its error.
func hold(t *testing.T, db *bus.DB, statement string) (release func() error) {
	t.Helper()
	held, over, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- db.InTx(context.Background(), func(tx *bus.Tx) error {
			if _, err := tx.ExecContext(context.Background(), `SET LOCAL idle_in_transaction_session_timeout = 0`); err != nil {
				return err
			}
			if _, err := tx.ExecContext(context.Background(), statement); err != nil {
				return err
			}
			close(held)
			<-over
			return nil
		})
	}()
	select {
	case <-held:
	case err := <-ended:
		require.NoError(t, err, statement)
	}
	return func() error { close(over); return <-ended }
}

// afterWaits calls then after at least so many transactions have waited for a
// lock, or when ctx ends.
func afterWaits(ctx context.Context, db *bus.DB, least int, then func() error) <-chan error {
	done := make(chan error, 1)
	go func() {
		seen := map[string]bool{}
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for len(seen) < least && ctx.Err() == nil {
			<-tick.C
			var now []string
			if db.QueryRowContext(ctx, `SELECT coalesce(array_agg(l.virtualtransaction), '{}') FROM pg_locks l JOIN pg_stat_activity a USING (pid)
				WHERE a.datname = current_database() AND NOT l.granted`).Scan(pq.Array(&now)) != nil {
				continue
			}
			for _, transaction := range now {
				seen[transaction] = true
			}
		}
		done <- then()
	}()
	return done
}

func TestDelivery_PaymentsWaitForLocksWithoutDeadLetters(t *testing.T) {
	t.Parallel()
	const orders = 20
	for name, lock := range map[string]string{
		"Exclusive":       `LOCK TABLE deliveries IN EXCLUSIVE MODE`,
		"Share":           `LOCK TABLE deliveries IN SHARE MODE`, // as CREATE INDEX takes it
		"AccessExclusive": `LOCK TABLE deliveries, history IN ACCESS EXCLUSIVE MODE`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, db := withDB(t)
			var paid []any
			for n := range orders {
				paid = append(paid, completed(fmt.Sprintf("goods-%d", n+1)))
			}
			released := afterWaits(t.Context(), db, 2*orders, hold(t, db, lock))
			d.When(paid...)
			require.NoError(t, <-released)
			require.Empty(t, d.DeadLetters())
			d.ThenRow(`SELECT count(*), count(DISTINCT order_key) FROM deliveries`, orders, orders)
			d.ThenRow(`SELECT count(*) FROM history`, orders)
		})
	}
}

func TestDelivery_RequestBlockedByLockIsUnavailable(t *testing.T) {
	t.Parallel()
	d, db := withDB(t)
	release := hold(t, db, `LOCK TABLE addresses IN EXCLUSIVE MODE`)
	refused := d.Do("PUT /deliveries/goods-17/address", address("04524"))
	require.NoError(t, release())
	require.Equal(t, http.StatusServiceUnavailable, refused.Code, refused.Body)
	require.Contains(t, refused.Body.String(), "lock")
	require.NotEmpty(t, refused.Header().Get("Retry-After"))
	d.Given("PUT /deliveries/goods-17/address", address("04524"))
}

func TestDelivery_RecoversFromSequenceBehindItsTable(t *testing.T) {
	t.Parallel()
	d, db := withDB(t)
	set := func(sequence string, to int) {
		t.Helper()
		var now int
		require.NoError(t, db.QueryRowContext(t.Context(), `SELECT setval($1, $2)`, sequence, to).Scan(&now))
	}
	for n := range 5 {
		d.When(completed(fmt.Sprintf("goods-%d", n+1)))
		d.Given(fmt.Sprintf("PUT /deliveries/goods-%d/address", n+1), address("04524"))
	}
	d.Given("POST /deliveries/goods-1/ship", "")

	for sequence, change := range map[string]string{"history_id_seq": "POST /deliveries/goods-2/ship", "tracking_numbers": "POST /deliveries/goods-3/ship"} {
		if sequence == "tracking_numbers" { // the next number was used by the first parcel
			require.NoError(t, exec(t, db, `ALTER SEQUENCE tracking_numbers RESTART WITH 1`))
		} else {
			set(sequence, 1)
		}
		refused := d.Do(change, "")
		require.Equal(t, http.StatusInternalServerError, refused.Code, "%s: %s", sequence, refused.Body)
		require.NotContains(t, strings.ToLower(refused.Body.String()), "read it again")
		set(sequence, 1000)
		d.Given(change, "")
	}

	// The message is retried, without using up its attempts, until the sequence is
	// fixed.
	set("history_id_seq", 1)
	released := make(chan error, 1)
	go func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for last := 0; last < 4 && t.Context().Err() == nil; <-tick.C { // until there were several retries
			_ = db.QueryRowContext(t.Context(), `SELECT last_value FROM history_id_seq`).Scan(&last)
		}
		released <- exec(t, db, `SELECT setval('history_id_seq', 2000)`)
	}()
	d.When(completed("goods-6"))
	require.NoError(t, <-released)
	require.Empty(t, d.DeadLetters())
	d.ThenRow(`SELECT count(*) FROM deliveries WHERE order_key = 'goods-6'`, 1)
}

func exec(t *testing.T, db *bus.DB, statement string) error {
	t.Helper()
	return db.InTx(t.Context(), func(tx *bus.Tx) error {
		_, err := tx.ExecContext(t.Context(), statement)
		return err
	})
}
