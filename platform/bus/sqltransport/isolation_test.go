package sqltransport_test

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
	"millrace/platform/bus/sqltransport"
	"millrace/platform/bus/store"
	"millrace/platform/errs"
	"millrace/platform/postgres"
)

// Messages of different keys in one batch: the one that fails is parked, and not one
// beside it.
func TestIsolation_FindsTheMessageThatFailsAndParksNoOther(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		first func(ctx context.Context, tx *bus.Tx) error // of the first message's handler
		want  string
		two   bool // the third message is isolated too: it fails the first time
	}{
		"a deferred constraint": {func(ctx context.Context, tx *bus.Tx) error {
			_, err := tx.ExecContext(ctx, `INSERT INTO child VALUES (17)`)
			return err
		}, "dead conflict", true},
		"an SQL error that is swallowed": {func(ctx context.Context, tx *bus.Tx) error {
			_, _ = tx.ExecContext(ctx, `SELECT 1/0`) // as a careless handler does
			return nil
		}, "dead unknown", false},
		"an error": {func(context.Context, *bus.Tx) error { return errors.New("fails") }, "dead unknown", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var failed atomic.Bool
			r := start(t, fresh(t), sqltransport.Config{Backoff: []time.Duration{}},
				part{name: "shop", publishes: []bus.Event{paid{}}},
				part{name: "store", subscribes: []bus.Subscription{bus.On(func(ctx context.Context, tx *bus.Tx, p paid) error {
					switch {
					case p.N == 0:
						return c.first(ctx, tx)
					case p.N == 2 && c.two && failed.CompareAndSwap(false, true):
						return errors.New("fails once")
					}
					_, err := tx.ExecContext(ctx, `INSERT INTO healthy VALUES ($1)`, p.N)
					return err
				})}})
			db, err := postgres.Open(t.Context(), postgres.Config{URL: r.url, MaxConns: 1, Schema: "store"})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, db.Close()) })
			_, err = db.ExecContext(t.Context(), `CREATE TABLE healthy (n int); CREATE TABLE parent (id int PRIMARY KEY);
				CREATE TABLE child (parent int REFERENCES parent DEFERRABLE INITIALLY DEFERRED)`)
			require.NoError(t, err)
			require.NoError(t, r.transport.DB("shop").InTx(t.Context(), func(tx *bus.Tx) error {
				for n, key := range keysOf(7, 5) {
					if err := tx.Publish(paid{key, n}); err != nil {
						return err
					}
				}
				return nil
			}))
			require.Eventually(t, func() bool {
				var got string
				require.NoError(t, db.QueryRowContext(t.Context(), `SELECT format('%s; %s', (SELECT string_agg(n::text, ',' ORDER BY n) FROM healthy),
					(SELECT string_agg("offset" || ' ' || state || ' ' || kind, ', ') FROM parked_messages))`).Scan(&got))
				return got == "1,2,3,4; 1 "+c.want
			}, 60*time.Second, 10*time.Millisecond)
		})
	}
}

// A failure that passes by itself is a warning, with its kind. The router would
// log each a second time, as an error, for which an operator may be called.
func TestRouter_LogsNoErrorForAPause(t *testing.T) {
	t.Parallel()
	var tries atomic.Int64
	done := make(chan struct{})
	r := start(t, fresh(t), sqltransport.Config{Logger: slog.New(slog.DiscardHandler)},
		part{name: "shop", publishes: []bus.Event{paid{}}},
		part{name: "store", subscribes: []bus.Subscription{bus.On(func(_ context.Context, tx *bus.Tx, p paid) error {
			if tries.Add(1) <= 4 {
				return errs.New(errs.Resource, "what it needs is away")
			}
			tx.AfterCommit(func() { close(done) })
			return nil
		})}})
	require.NoError(t, r.transport.DB("shop").InTx(t.Context(), func(tx *bus.Tx) error { return tx.Publish(paid{"order", 1}) }))
	waitFor(t, "the message", done)
	require.Empty(t, r.router.Captured()[watermill.ErrorLogLevel])
}

// keysOf returns n keys of the partition.
func keysOf(partition, n int) (all []string) {
	for i := 0; len(all) < n; i++ {
		if key := "k" + strconv.Itoa(i); store.PartitionOf(key) == partition {
			all = append(all, key)
		}
	}
	return all
}
