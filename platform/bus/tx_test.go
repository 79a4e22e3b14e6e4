package bus_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
	"millrace/platform/errs"
)

func TestTx_RefusesPublishAfterEnd(t *testing.T) {
	t.Parallel()
	play(func(ctx context.Context, db *bus.DB) {
		var kept *bus.Tx
		require.NoError(t, db.InTx(ctx, func(tx *bus.Tx) error {
			kept = tx
			return nil
		}))
		require.ErrorContains(t, kept.Publish(OrderPaid{"goods-17", 1}), "is over")
		_, err := kept.ExecContext(ctx, `SELECT 1`)
		require.ErrorContains(t, err, "is over", "in a run it would be part of another message's effect")
		_, err = kept.QueryContext(ctx, `SELECT 1`) //nolint:sqlclosecheck,rowserrcheck // there are none
		require.ErrorContains(t, err, "is over")
		require.ErrorIs(t, kept.QueryRowContext(ctx, `SELECT 1`).Scan(new(int)), context.Canceled)
	}, till)
}

func TestTx_RefusesTransactionControl(t *testing.T) {
	t.Parallel()
	play(func(ctx context.Context, db *bus.DB) {
		require.NoError(t, db.InTx(ctx, func(tx *bus.Tx) error {
			for _, text := range []string{"COMMIT", " commit; ", "ROLLBACK", "rollback and chain", "END", "ABORT", "PREPARE TRANSACTION 'x'",
				"/* now */ -- really\n COMMIT", "SELECT 1; COMMIT"} {
				_, err := tx.ExecContext(ctx, text)
				require.Equal(t, errs.Invalid, errs.KindOf(err), text)
				_, err = tx.QueryContext(ctx, text) //nolint:sqlclosecheck,rowserrcheck // there are none
				require.Equal(t, errs.Invalid, errs.KindOf(err), text)
				require.ErrorIs(t, tx.QueryRowContext(ctx, text).Scan(new(int)), context.Canceled, text)
			}
			for _, text := range []string{"SAVEPOINT s", "ROLLBACK TO s", "PREPARE p AS SELECT 1", "CREATE TEMPORARY TABLE ended (x int)", "EXPLAIN SELECT 1", "",
				"DO $$ BEGIN PERFORM 1; END $$", "SELECT 1; SELECT '; commit'"} {
				_, err := tx.ExecContext(ctx, text)
				require.NoError(t, err, text)
			}
			return nil
		}))
	}, till)
}

func TestTx_StatementEndsWithHandlersTimeLimit(t *testing.T) {
	t.Parallel()
	play(func(ctx context.Context, db *bus.DB) {
		long, stop := context.WithTimeout(context.Background(), time.Hour)
		defer stop()
		for _, own := range []context.Context{context.Background(), long} {
			begun := false
			for limit := 500 * time.Millisecond; !begun; limit *= 2 { // a busy machine may not come so far in time
				require.Less(t, limit, time.Minute)
				short, cancel := context.WithTimeout(ctx, limit)
				err := db.InTx(short, func(tx *bus.Tx) error {
					begun = true
					_, err := tx.ExecContext(own, `SELECT pg_sleep(90)`)
					return err
				})
				cancel()
				require.Error(t, err)
			}
		}
	}, till)
}

func TestTx_OpenRowsAreAnErrorOfTheHandler(t *testing.T) {
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
