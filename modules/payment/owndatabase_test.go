package payment

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
	"millrace/platform/outbound"
)

// Our own database is too slow for an attempt, even the last one: the gateway is
// not called, and the queue counts no attempt.
func TestOutboundCall_SlowDatabaseUsesNoAttempt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	caller := gatewayCaller{db: b.db, gateway: b.gateway, timeout: 200 * time.Millisecond}
	require.NoError(t, b.db.InTx(t.Context(), func(tx *bus.Tx) error {
		for _, statement := range []string{
			`SET LOCAL idle_in_transaction_session_timeout = 0`,
			`LOCK TABLE charges, refunds IN ACCESS EXCLUSIVE MODE`,
		} {
			if _, err := tx.ExecContext(t.Context(), statement); err != nil {
				return err
			}
		}
		var delay *outbound.Delay
		_, err := caller.charge(t.Context(), outbound.Call[chargeCall]{Attempt: maxAttempts, Payload: chargeCall{TransactionKey: "t-1"}})
		require.ErrorAs(t, err, &delay)
		_, err = caller.refund(t.Context(), outbound.Call[refundCall]{Attempt: 1, Payload: refundCall{RefundID: "00000000-0000-7000-8000-000000000001", Check: true}})
		require.ErrorAs(t, err, &delay)
		return nil
	}))
	require.Empty(t, b.gateway.charges)
	require.Empty(t, b.gateway.refunds)
}

func TestOutboundCall_DatabaseHasHalfOfTheTime(t *testing.T) {
	t.Parallel()
	caller := gatewayCaller{timeout: time.Hour}
	_, _, err := caller.begin(t.Context(), func(ctx context.Context, _ *bus.DB, _ string) (bool, bool, error) {
		deadline, limited := ctx.Deadline()
		require.True(t, limited)
		require.LessOrEqual(t, time.Until(deadline), time.Hour/2)
		return false, false, nil
	}, "t-1")
	require.NoError(t, err)
}
