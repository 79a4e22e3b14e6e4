package sqltransport_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
	"millrace/platform/bus/sqltransport"
	"millrace/platform/errs"
	"millrace/platform/postgres"
)

// TestHandlerFailure_IsKeptAndLoggedWithoutThePayload has handlers fail in the
// ways that quote what a message holds.
func TestHandlerFailure_IsKeptAndLoggedWithoutThePayload(t *testing.T) {
	t.Parallel()
	type person struct{ Email string }
	var at struct{ At time.Time }
	ofTime := json.Unmarshal([]byte(`{"at":"Kim kim@example.com"}`), &at)
	require.ErrorContains(t, ofTime, "kim@example.com")
	fails := map[string]func(context.Context, *bus.Tx) error{
		"time": func(context.Context, *bus.Tx) error { return errs.New(errs.Undecodable, "read: %w", ofTime) },
		"sql": func(ctx context.Context, tx *bus.Tx) error {
			return tx.QueryRowContext(ctx, `SELECT 'Kim kim@example.com'::int`).Scan(new(int))
		},
		"text":  func(context.Context, *bus.Tx) error { panic("no mailbox kim@example.com") },
		"value": func(context.Context, *bus.Tx) error { panic(person{"kim@example.com"}) },
		"error": func(context.Context, *bus.Tx) error { panic(errors.New("card 4111 1111 1111 1111")) },
	}
	log := &logLines{}
	r := start(t, fresh(t), sqltransport.Config{Backoff: []time.Duration{}, Logger: slog.New(slog.NewJSONHandler(log, nil))},
		part{name: "shop", publishes: []bus.Event{paid{}}},
		part{name: "store", subscribes: []bus.Subscription{bus.On(func(ctx context.Context, tx *bus.Tx, p paid) error { return fails[p.Order](ctx, tx) })}})
	require.NoError(t, r.transport.DB("shop").InTx(t.Context(), func(tx *bus.Tx) error {
		var all []error
		for order := range fails {
			all = append(all, tx.Publish(paid{order, 0}))
		}
		return errors.Join(all...)
	}))
	db, err := postgres.Open(t.Context(), postgres.Config{URL: r.url, MaxConns: 2})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	kept := map[string]string{}
	require.Eventually(t, func() bool {
		rows, err := db.QueryContext(t.Context(), `SELECT key, error FROM store.parked_messages WHERE state = 'dead'`)
		require.NoError(t, err)
		defer rows.Close()
		for rows.Next() {
			var key, text string
			require.NoError(t, rows.Scan(&key, &text))
			kept[key] = text
		}
		require.NoError(t, rows.Err())
		return len(kept) == len(fails)
	}, time.Minute, 10*time.Millisecond)
	logged, err := json.Marshal(log.with(t, "handler failed"))
	require.NoError(t, err)
	for key, text := range kept {
		for _, is := range []string{text, string(logged)} {
			require.NotContains(t, is, "example.com", key)
			require.NotContains(t, is, "Kim", key)
			require.NotContains(t, is, "4111", key)
		}
	}
	require.Contains(t, kept["time"], `parsing time "***"`)
	require.Contains(t, kept["sql"], `invalid input syntax for type integer: "***"`)
	require.Contains(t, kept["text"], "panic: no mailbox ***@***\n")
	require.Contains(t, kept["value"], "panic: a value of type sqltransport_test.person\n")
	require.Contains(t, kept["error"], "panic: card ***\n")
	require.Contains(t, kept["error"], "redacted_test.go", "the stack")
	require.Contains(t, string(logged), "redacted_test.go", "the stack")
}
