package outbound

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
	"millrace/platform/postgres"
)

// A result that waits for a lock is kept and its call is not repeated, even if
// the lock is held for many times the lease.
func TestQueue_LockUsesNoAttempt(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		locked    string
		processes int
		lease     time.Duration
	}{
		"TableOfOnComplete":                {"effects", 1, 400 * time.Millisecond},
		"TableOfOnCompleteAndTwoProcesses": {"effects", 2, 4 * time.Second}, // longer than the pauses of two seconds, as real leases are
		"TableOfEvents":                    {"published", 1, 400 * time.Millisecond},
		"OwnTable":                         {"outbound_calls", 1, 400 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := setup(t)
			var calls, completions atomic.Int32
			called, waited := make(chan struct{}, 100), make(chan struct{})
			locked := make(chan struct{})
			for range c.processes {
				db := h.impatient()
				q := New(db, Config[letter, string]{
					Name: "letter", MaxAttempts: 2,
					Do: func(context.Context, Call[letter]) (string, error) {
						calls.Add(1)
						called <- struct{}{}
						<-locked
						return "sent", nil
					},
					OnComplete: func(ctx context.Context, tx *bus.Tx, call Call[letter], out Outcome[string]) error {
						completions.Add(1)
						return effect(ctx, tx, call, out)
					},
				})
				q.lease, q.poll = c.lease, 20*time.Millisecond
				h.start(q)
			}
			id := h.record(New(h.db, Config[letter, string]{
				Name: "letter", Do: func(context.Context, Call[letter]) (string, error) { return "", nil }, OnComplete: effect,
			}), "goods-1")
			within(t, called)
			holder, err := h.sql.BeginTx(context.WithoutCancel(t.Context()), nil)
			require.NoError(t, err)
			release := sync.OnceFunc(func() { require.NoError(t, holder.Rollback()) })
			t.Cleanup(release)
			_, err = holder.Exec(`SET LOCAL idle_in_transaction_session_timeout = 0; LOCK TABLE ` + c.locked + ` IN EXCLUSIVE MODE`)
			require.NoError(t, err)
			close(locked)
			go func() { // waits until recording was blocked several times, for longer than the lease
				defer close(waited)
				tick := time.NewTicker(2 * time.Millisecond)
				defer tick.Stop()
				seen := map[string]bool{}
				for began := time.Now(); len(seen) < 6 || time.Since(began) < 2*c.lease; <-tick.C {
					if t.Context().Err() != nil {
						return
					}
					var now string
					if h.sql.QueryRowContext(t.Context(), `SELECT virtualtransaction FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE datname = current_database() AND NOT granted LIMIT 1`).Scan(&now) == nil {
						seen[now] = true
					}
				}
			}()
			within(t, waited)
			release()
			h.waitForState(id, "succeeded")
			require.EqualValues(t, 1, calls.Load(), "the call was made again")
			require.Equal(t, "1", h.text(`SELECT attempts FROM outbound_calls WHERE id = $1`, id))
			require.Equal(t, "1", h.text(`SELECT count(*) FROM effects`))
			require.Positive(t, completions.Load())
		})
	}
}

// impatient returns a handle whose statements wait only briefly for a lock.
func (h *fixture) impatient() *bus.DB {
	h.t.Helper()
	topology, err := bus.NewTopology(post{})
	require.NoError(h.t, err)
	db, err := postgres.Open(h.t.Context(), postgres.Config{URL: h.url, Schema: "post", MaxConns: 8, LockTimeout: 50 * time.Millisecond})
	require.NoError(h.t, err)
	h.t.Cleanup(func() { _ = db.Close() })
	return bus.NewDB(db, "post", topology, published{})
}
