package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"millrace/platform/postgres"
	"millrace/platform/postgres/pgtest"
)

// backlogged is a connection whose replies come behind a hundred notifications, as after
// the process was stopped for a while.
type backlogged struct {
	notifications chan *pq.Notification
	pings         atomic.Int64
}

func (b *backlogged) NotificationChannel() <-chan *pq.Notification { return b.notifications }

func (b *backlogged) Ping() error {
	for range 100 {
		b.notifications <- &pq.Notification{Extra: "noise"}
	}
	b.pings.Add(1)
	return nil
}

// Receiving waited for the reply, and the reply for receiving: the process received
// nothing any more, and did not end.
func TestListener_ReceivesWhilePingWaits(t *testing.T) {
	t.Parallel()
	connection := &backlogged{notifications: make(chan *pq.Notification)}
	l := &Listener{Logger: slog.New(slog.DiscardHandler)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.receive(ctx, connection, time.Millisecond)
	}()
	require.Eventually(t, func() bool { return connection.pings.Load() >= 3 }, time.Minute, time.Millisecond)
	cancel()
	select {
	case <-done:
	case <-time.After(time.Minute):
		require.Fail(t, "it does not end")
	}
}

// PostgreSQL refuses a payload of 8,000 bytes, and the notifier sent it again without end.
func TestNotifier_SendsManySourcesInSeveralPayloads(t *testing.T) {
	t.Parallel()
	db, err := postgres.Open(t.Context(), postgres.Config{URL: pgtest.URL(t), MaxConns: 1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	n := NewNotifier(db, uuid.New(), time.Minute)
	changes := Changes{}
	for i := range 300 {
		changes[fmt.Sprintf("module%023d.commands", i)] = math.MaxUint64
	}
	got := Changes{}
	l := &Listener{Node: uuid.New(), Changed: func(c Changes) {
		for source, partitions := range c {
			got[source] = partitions
		}
	}}
	payloads := encode(n.node, changes)
	require.Greater(t, len(payloads), 1)
	for _, payload := range payloads {
		require.NoError(t, n.send(t.Context(), payload))
		l.handle(payload)
	}
	require.Equal(t, changes, got)
}

func TestListener_IgnoresItsOwnAndMalformedPayloads(t *testing.T) {
	t.Parallel()
	node := uuid.New()
	never := func() { require.Fail(t, "called") }
	l := &Listener{Node: node, Joined: never, Missed: never, Changed: func(Changes) { never() }, Parked: func(string, string, int) { never() }}
	for _, payload := range []string{
		"", "hello", "hello " + node.String(), "log " + node.String() + " shop.events=1", "log", "parked store shop.events", "parked store shop.events x",
		"parked store shop.events 64", "parked store shop.events -1", "noise of others",
	} {
		l.handle(payload)
	}
	require.Equal(t, Changes{"shop.events": 3}, decode(strings.Fields("shop.events=3 shop.events.x=y")))
}

// The server cuts an application's name off after 63 bytes, and with it the node:
// transactions of an expired node of such a module were never ended.
func TestApplicationName_EndsWithTheNodeHoweverLongTheModulesName(t *testing.T) {
	t.Parallel()
	node := uuid.New()
	require.Equal(t, "millrace delivery "+node.String(), ApplicationName("delivery", node))
	name := ApplicationName("abcdefghijklmnopqrstuvwxyz0123", node)
	require.Len(t, name, 63)
	require.True(t, strings.HasSuffix(name, " "+node.String()), name)
}
