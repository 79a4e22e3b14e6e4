package sqltransport_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
	"millrace/platform/bus/sqltransport"
)

// Each failed attempt has a line, and so has the end: an operator searches for
// the message's id and sees how often it was tried.
func TestDeadMessage_IsLoggedOnceWithItsKeyAndAttempts(t *testing.T) {
	t.Parallel()
	log := &logLines{}
	r := start(t, fresh(t), sqltransport.Config{Backoff: []time.Duration{time.Millisecond, time.Millisecond}, Logger: slog.New(slog.NewJSONHandler(log, nil))},
		part{name: "shop", publishes: []bus.Event{paid{}}},
		part{name: "store", subscribes: []bus.Subscription{bus.On(func(context.Context, *bus.Tx, paid) error { return errors.New("no such parcel") })}})
	require.NoError(t, r.transport.DB("shop").InTx(t.Context(), func(tx *bus.Tx) error { return tx.Publish(paid{"goods-1", 1}) }))
	require.Eventually(t, func() bool { return len(log.with(t, "message dead")) > 0 }, time.Minute, 10*time.Millisecond)

	dead := log.with(t, "message dead")
	require.Len(t, dead, 1)
	require.Equal(t, "ERROR", dead[0]["level"])
	require.Subset(t, dead[0], map[string]any{"subscriber": "store", "type": "shop.paid", "key": "goods-1", "topic": "shop.events", "attempts": 3.0,
		"kind": "unknown", "error": "no such parcel", "help": "millrace deadletters"})
	failed := log.with(t, "handler failed")
	require.Len(t, failed, 3)
	for i, line := range failed {
		require.Subset(t, line, map[string]any{"level": "WARN", "message_id": dead[0]["message_id"], "key": "goods-1", "attempt": float64(i + 1)})
	}
}
