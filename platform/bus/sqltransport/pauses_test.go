package sqltransport_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
	"millrace/platform/bus/sqltransport"
	"millrace/platform/errs"
	"millrace/platform/postgres"
)

// logLines collects a log.
type logLines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logLines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

// with returns the lines with the message.
func (l *logLines) with(t *testing.T, message string) (found []map[string]any) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.text.String()) {
		var fields map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &fields))
		if fields["msg"] == message {
			found = append(found, fields)
		}
	}
	return found
}

func TestTransport_PauseIsLoggedOnceAndReported(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		breaks, mends string // without mends, breaks is undone
		level, reason string
		want          []string
		public        string
	}{
		"Lock": {`LOCK TABLE store.goods IN EXCLUSIVE MODE`, "", "WARN", "lock",
			[]string{"RowExclusiveLock on goods", "blocked by process"}, "store: 1 paused (waits for a lock)"},
		"MissingTable": {`ALTER TABLE store.goods RENAME TO gone`, `ALTER TABLE store.gone RENAME TO goods`, "ERROR", "42P01",
			[]string{`relation \"goods\" does not exist`, "millrace migrate"}, "store: 1 paused (SQLSTATE 42P01)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := &logLines{}
			r := start(t, fresh(t), sqltransport.Config{Logger: slog.New(slog.NewJSONHandler(log, nil))},
				part{name: "shop", publishes: []bus.Event{paid{}}},
				part{name: "store", subscribes: []bus.Subscription{bus.On(func(ctx context.Context, tx *bus.Tx, p paid) error {
					_, err := tx.ExecContext(ctx, `INSERT INTO goods VALUES ($1)`, p.N)
					return err
				})}})
			db, err := postgres.Open(t.Context(), postgres.Config{URL: r.url, MaxConns: 2, IdleInTxTimeout: time.Hour})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, db.Close()) })
			_, err = db.ExecContext(t.Context(), `CREATE TABLE store.goods (n int)`)
			require.NoError(t, err)
			require.NoError(t, r.transport.Paused())
			tx, err := db.BeginTx(context.WithoutCancel(t.Context()), nil)
			require.NoError(t, err)
			mend := sync.OnceFunc(func() { require.NoError(t, tx.Rollback()) })
			if c.mends != "" {
				require.NoError(t, tx.Rollback())
				_, err = db.ExecContext(t.Context(), c.breaks)
				mend = func() {
					_, err := db.ExecContext(t.Context(), c.mends)
					require.NoError(t, err)
				}
			} else {
				t.Cleanup(mend)
				_, err = tx.ExecContext(t.Context(), c.breaks)
			}
			require.NoError(t, err)
			require.NoError(t, r.transport.DB("shop").InTx(t.Context(), func(tx *bus.Tx) error {
				return errors.Join(tx.Publish(paid{"order", 0}), tx.Publish(paid{"order", 1}))
			}))
			var paused error
			require.Eventually(t, func() bool { paused = r.transport.Paused(); return paused != nil }, time.Minute, 10*time.Millisecond)
			require.Equal(t, errs.Resource, errs.KindOf(paused))
			var reported interface {
				Since() time.Time
				Public() string
			}
			require.ErrorAs(t, paused, &reported)
			require.Equal(t, c.public, reported.Public())
			require.False(t, reported.Since().IsZero())
			mend()
			require.Eventually(t, func() bool { return r.transport.Paused() == nil }, time.Minute, 10*time.Millisecond)
			require.Eventually(t, func() bool { return len(log.with(t, "subscription resumed")) == 1 }, time.Minute, 10*time.Millisecond)
			began := log.with(t, "subscription paused")
			require.Len(t, began, 1, "not one for each try")
			line, err := json.Marshal(began[0])
			require.NoError(t, err)
			require.Equal(t, []any{c.level, c.reason}, []any{began[0]["level"], began[0]["reason"]})
			for _, part := range c.want {
				require.Contains(t, strings.ReplaceAll(string(line), `\\\"`, `\"`), part)
			}
			require.Empty(t, log.with(t, "handler failed"))
		})
	}
}

func TestDB_InTxWithoutAFreeConnectionIsResource(t *testing.T) {
	t.Parallel()
	const connections = 5
	r := start(t, fresh(t), sqltransport.Config{MaxConnsPerModule: connections, Workers: 3}, part{name: "shop", publishes: []bus.Event{paid{}}})
	begun, over := make(chan struct{}), make(chan struct{})
	var holders sync.WaitGroup
	for range connections {
		holders.Go(func() {
			_ = r.transport.DB("shop").InTx(context.Background(), func(*bus.Tx) error { // it may be open for too long
				begun <- struct{}{}
				<-over
				return nil
			})
		})
	}
	for range connections {
		waitFor(t, "a transaction", begun)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err := r.transport.DB("shop").InTx(ctx, func(*bus.Tx) error { return nil })
	close(over)
	holders.Wait()
	require.Equal(t, errs.Resource, errs.KindOf(err), "%v", err)
	require.ErrorContains(t, err, "no connection of module shop was free")
}
