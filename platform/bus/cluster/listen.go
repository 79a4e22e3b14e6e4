package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"millrace/platform/bus/store"
	"millrace/platform/postgres"
)

// Listener receives the other nodes' notifications. Everybody who can connect to the
// database can send some: what they name may not exist, and they must cost little.
type Listener struct {
	URL    string
	Node   uuid.UUID
	Logger *slog.Logger

	Joined  func()                                         // another node has started
	Changed func(Changes)                                  // another node has committed
	Parked  func(subscriber, stream string, partition int) // an operator has changed a parked message
	Missed  func()                                         // the connection was interrupted: anything may have changed
}

// Run listens until ctx ends. It closes ready, or sends the error, once it listens.
func (l *Listener) Run(ctx context.Context, ready chan<- error) {
	events := func(event pq.ListenerEventType, err error) {
		if event == pq.ListenerEventConnectionAttemptFailed || event == pq.ListenerEventDisconnected {
			l.Logger.Warn("notifications interrupted", "error", fmt.Sprint(err))
		}
	}
	listener, err := postgres.NewListener(postgres.Config{URL: l.URL, MaxConns: 1, Application: "millrace listener"}, events)
	if err == nil {
		stop := context.AfterFunc(ctx, func() { _ = listener.Close() }) // Listen waits for as long as the database is away
		defer stop()
		defer closeListener(listener)
		err = listener.Listen(channel)
	}
	if err != nil {
		ready <- fmt.Errorf("listen: %w", err)
		return
	}
	close(ready)
	l.receive(ctx, listener, 30*time.Second)
}

// connection is what Listener uses of *pq.Listener.
type connection interface {
	NotificationChannel() <-chan *pq.Notification
	Ping() error
}

// receive handles notifications until ctx ends. After each silence of the given length
// it pings the server, while it goes on receiving: the reply comes behind notifications
// that were sent before, and is read only after them.
func (l *Listener) receive(ctx context.Context, c connection, silence time.Duration) {
	replied := make(chan error, 1)
	pinging := false
	for {
		select {
		case <-ctx.Done():
			return
		case n := <-c.NotificationChannel():
			if n == nil { // reconnected
				l.Missed()
				continue
			}
			l.handle(n.Extra)
		case <-time.After(silence):
			if !pinging {
				pinging = true
				go func() { replied <- c.Ping() }()
			}
		case err := <-replied:
			pinging = false
			if err != nil {
				l.Logger.Warn("notifications interrupted", "error", err.Error())
			}
		}
	}
}

// handle calls the function for a payload, unless this node sent it.
func (l *Listener) handle(payload string) {
	words := strings.Fields(payload)
	switch {
	case len(words) == 2 && words[0] == "hello":
		if words[1] != l.Node.String() {
			l.Joined()
		}
	case len(words) > 2 && words[0] == "log":
		if words[1] != l.Node.String() {
			l.Changed(decode(words[2:]))
		}
	case len(words) == 4 && words[0] == "parked":
		if partition, err := strconv.Atoi(words[3]); err == nil && partition >= 0 && partition < store.Partitions {
			l.Parked(words[1], words[2], partition)
		}
	}
}

// closeListener closes a listener, but waits a second at most for a server that does not
// answer. The listener's reader blocks until what it has read is received.
func closeListener(l *pq.Listener) {
	go func() { _ = l.Close() }()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range l.Notify { //nolint:revive // until it is closed
		}
	}()
	select {
	case <-done:
	case <-time.After(time.Second):
	}
}
