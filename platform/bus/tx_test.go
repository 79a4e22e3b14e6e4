package bus_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
	"millrace/platform/errs"
)

func TestATransactionThatIsOverRefusesToSpeak(t *testing.T) {
	t.Parallel()
	play(func(ctx context.Context, db *bus.DB) {
		var kept *bus.Tx
		require.NoError(t, db.InTx(ctx, func(tx *bus.Tx) error {
			kept = tx
			return nil
		}))
		require.ErrorContains(t, kept.Publish(OrderPaid{"goods-17", 1}), "is over")
	}, till)
}

func TestATransactionCannotBeEndedByHand(t *testing.T) {
	t.Parallel()
	play(func(ctx context.Context, db *bus.DB) {
		require.NoError(t, db.InTx(ctx, func(tx *bus.Tx) error {
			for _, text := range []string{"COMMIT", " commit; ", "ROLLBACK", "rollback and chain", "END", "ABORT", "PREPARE TRANSACTION 'x'"} {
				_, err := tx.ExecContext(ctx, text)
				require.Equal(t, errs.Invalid, errs.KindOf(err), text)
			}
			for _, text := range []string{"SAVEPOINT s", "ROLLBACK TO s", "PREPARE p AS SELECT 1", "CREATE TEMPORARY TABLE ended (x int)", "EXPLAIN SELECT 1", ""} {
				_, err := tx.ExecContext(ctx, text)
				require.NoError(t, err, text)
			}
			return nil
		}))
	}, till)
}

func TestRowsThatAreLeftOpenAreAnErrorOfWhoLeftThem(t *testing.T) {
	t.Parallel()
	play(func(ctx context.Context, db *bus.DB) {
		err := db.InTx(ctx, func(tx *bus.Tx) error {
			rows, err := tx.QueryContext(ctx, `SELECT generate_series(1, 3)`)
			require.NoError(t, err)
			require.True(t, rows.Next())
			return rows.Err()
		})
		require.ErrorContains(t, err, "left open")
		require.NoError(t, db.InTx(ctx, func(tx *bus.Tx) error { // read to their end, they close themselves
			rows, err := tx.QueryContext(ctx, `SELECT generate_series(1, 3)`)
			require.NoError(t, err)
			for rows.Next() { //nolint:revive // nothing to do with them
			}
			return rows.Err()
		}))
	}, till)
}
