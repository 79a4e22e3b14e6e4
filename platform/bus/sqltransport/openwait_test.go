package sqltransport_test

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/platform/bus/admin"
	"millrace/platform/bus/sqltransport"
	"millrace/platform/postgres"
)

// waits gives the steps that wait, as they are logged.
type waits struct {
	slog.Handler
	steps chan wait
}

type wait struct{ step, err string }

func (waits) Enabled(context.Context, slog.Level) bool { return true }

func (h waits) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "start waits for the database" {
		var w wait
		r.Attrs(func(a slog.Attr) bool {
			switch a.Key {
			case "step":
				w.step = a.Value.String()
			case "error":
				w.err = a.Value.String()
			}
			return true
		})
		h.steps <- w
	}
	return nil
}

// terminateWaiting ends the connections of the database that wait for a lock,
// again and again (database/sql repeats a statement when its connection breaks),
// until the start logs that it waits because of that.
func terminateWaiting(t *testing.T, db *sql.DB, steps <-chan wait, opened <-chan error) {
	t.Helper()
	require.Eventually(t, func() bool {
		require.Empty(t, opened, "the start ended")
		_, err := db.Exec(`
			SELECT pg_terminate_backend(pid) FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event_type = 'Lock'`)
		require.NoError(t, err)
		select {
		case w := <-steps:
			return !strings.Contains(w.err, "55P03")
		default:
			return false
		}
	}, time.Minute, 10*time.Millisecond)
}

// A lock that somebody holds during the start ended the process.
func TestOpen_WaitsForTheHolderOfALock(t *testing.T) {
	t.Parallel()
	for table, step := range map[string]string{
		"bus.topics": "registering topics", "bus.nodes": "renewing the lease", "bus.registrations": "registering subscriber store", "store.offsets": "registering subscriber store",
	} {
		t.Run(table, func(t *testing.T) {
			t.Parallel()
			topo, url := topology(t), fresh(t)
			require.NoError(t, admin.Migrate(t.Context(), url, topo))
			db, err := postgres.Open(t.Context(), postgres.Config{URL: url, MaxConns: 2})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, db.Close()) })
			holder, err := db.BeginTx(t.Context(), nil)
			require.NoError(t, err)
			_, err = holder.ExecContext(t.Context(), "SET LOCAL idle_in_transaction_session_timeout = 0; LOCK TABLE "+table+" IN ACCESS EXCLUSIVE MODE")
			require.NoError(t, err)

			steps, opened := make(chan wait, 1000), make(chan error, 1)
			go func() {
				tr, err := sqltransport.Open(t.Context(), sqltransport.Config{URL: url, Logger: slog.New(waits{slog.DiscardHandler, steps})}, topo, topo.Modules())
				if err == nil {
					s := tr.Subscriber("store")
					for _, message := range []string{"shop.paid", "shop.also"} {
						if _, failed := s.Subscribe(t.Context(), message); failed != nil {
							err = failed
						}
					}
					err = errors.Join(err, tr.Close())
				}
				opened <- err
			}()
			require.Equal(t, step, waitFor(t, "the first wait", steps).step)
			require.True(t, strings.HasPrefix(waitFor(t, "the second wait", steps).step, "re"))
			terminateWaiting(t, db, steps, opened) // which ended the process, too
			require.Empty(t, opened)
			require.NoError(t, holder.Rollback())
			require.NoError(t, waitFor(t, "the start", opened))
		})
	}
}
