//go:build stock

package stock_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	wsql "github.com/ThreeDotsLabs/watermill-sql/v4/pkg/sql"
	"github.com/ThreeDotsLabs/watermill/components/cqrs"
	"github.com/ThreeDotsLabs/watermill/components/forwarder"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/stretchr/testify/require"
)

// Replaced by: the verdict in platform/bus/chain.go, which nacks in a defer.
func TestStockRouter_MissesHandlerThatEndsItsGoroutine(t *testing.T) {
	t.Parallel()
	db := fresh(t)
	called, behind := make(chan struct{}, 1000), make(chan *message.Message, 10)
	handle(t, newSubscriber(t, db, deadline(stockLog(), 10*poll)), "payments", func(msg *message.Message) error { // by default 30 s
		if msg.UUID == "ends" {
			called <- struct{}{}
			runtime.Goexit()
		}
		behind <- msg.Copy()
		return nil
	}, poisonInto(t, db), middleware.Recoverer)
	publish(t, publisher(t, db, wsql.DefaultPostgreSQLSchema{}), "payments", "ends", "behind")
	for range 4 { // the deadline is its only end, and brings it again
		await(t, "the handler", called)
	}
	nothing(t, behind, "what is behind it is delivered")
	require.Equal(t, "0", rowsOf(t, db, "watermill_poison"), "mended upstream, if it ends as a dead letter")
}

// Replaced by: package app, where the router's end is the program's error.
func TestStockRouter_EndsWithoutErrorWhenSubscriptionsEnd(t *testing.T) {
	t.Parallel()
	s := newSubscriber(t, fresh(t), stockLog())
	router, err := message.NewRouter(message.RouterConfig{}, watermill.NopLogger{})
	require.NoError(t, err)
	router.AddConsumerHandler("handler", "payments", s, func(*message.Message) error { return nil })
	done := make(chan error, 1)
	go func() { done <- router.Run(context.Background()) }()
	<-router.Running()
	require.NoError(t, s.Close()) // nobody asked the router to end
	require.NoError(t, await(t, "the router", done), "mended upstream, if it reports that nothing is handled any more")
}

// Replaced by: the log of package telemetry, which prints what is known to be
// harmless.
func TestStockLogs_ContainMessageContents(t *testing.T) {
	t.Parallel()
	db := fresh(t)
	var out bytes.Buffer
	log := watermill.NewSlogLogger(slog.New(slog.NewTextHandler(&out, nil)))
	p := publisher(t, db, wsql.DefaultPostgreSQLSchema{})
	router, err := message.NewRouter(message.RouterConfig{}, log)
	require.NoError(t, err)
	_, err = forwarder.NewForwarder(newSubscriber(t, db, stockLog()), p, log, forwarder.Config{ForwarderTopic: "payments", AckWhenCannotUnwrap: true, Router: router})
	require.NoError(t, err)
	msg := message.NewMessage("a", []byte(`{}`))
	msg.Metadata.Set("card", "canary")
	require.NoError(t, p.Publish("payments", msg))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- router.Run(ctx) }()
	<-router.Running()
	becomes(t, db, "1", `SELECT offset_acked FROM watermill_offsets_payments`)
	cancel()
	require.NoError(t, router.Close())
	require.NoError(t, await(t, "the router", done))
	require.Contains(t, out.String(), "level=ERROR")
	require.Contains(t, out.String(), "canary", "mended upstream, if metadata and payload are not in the log")
}

// Replaced by: the relay, and dead letters.
func TestStockForwarder_IsBlockedByRowWithoutEnvelope(t *testing.T) {
	t.Parallel()
	db := fresh(t)
	p := publisher(t, db, wsql.DefaultPostgreSQLSchema{})
	s, seen := newSubscriber(t, db, stockLog()), &calls{}
	forwarded := make(chan *message.Message, 10)
	f, err := forwarder.NewForwarder(s, publishFunc(func(_ string, messages ...*message.Message) error {
		forwarded <- messages[0].Copy()
		return nil
	}), watermill.NopLogger{}, forwarder.Config{ForwarderTopic: "outbox", Middlewares: []message.HandlerMiddleware{func(next message.HandlerFunc) message.HandlerFunc {
		return func(msg *message.Message) ([]*message.Message, error) {
			seen.add(msg.UUID)
			return next(msg)
		}
	}}})
	require.NoError(t, err)
	publish(t, p, "outbox", "no envelope")
	require.NoError(t, forwarder.NewPublisher(p, forwarder.PublisherConfig{ForwarderTopic: "outbox"}).Publish("payments", message.NewMessage("a", []byte(`{}`))))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, errors.Join(f.Close(), <-done))
	})
	require.Eventually(t, func() bool { return seen.of("no envelope") > 10 }, patience, poll)
	nothing(t, forwarded, "what is behind a row that is no envelope is forwarded")
}

// Replaced by: runs of up to 16 messages of a partition.
func TestStockForwarder_ForwardsOneMessageAtATime(t *testing.T) {
	t.Parallel()
	db := fresh(t)
	p := publisher(t, db, wsql.DefaultPostgreSQLSchema{})
	envelopes := forwarder.NewPublisher(p, forwarder.PublisherConfig{ForwarderTopic: "outbox"})
	for _, name := range names(20) {
		require.NoError(t, envelopes.Publish("payments", message.NewMessage(name, []byte(`{}`))))
	}
	publishing, goOn := make(chan int, 100), make(chan struct{})
	f, err := forwarder.NewForwarder(newSubscriber(t, db, stockLog()), publishFunc(func(_ string, messages ...*message.Message) error {
		publishing <- len(messages)
		<-goOn
		return nil
	}), watermill.NopLogger{}, forwarder.Config{ForwarderTopic: "outbox"})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, errors.Join(f.Close(), <-done))
	})
	require.Equal(t, 1, await(t, "the first", publishing), "mended upstream, if it takes more at once")
	select {
	case <-publishing:
		require.Fail(t, "it was mended upstream: two messages are on their way at once")
	case <-time.After(brief):
	}
	close(goOn)
	for range 19 {
		require.Equal(t, 1, await(t, "the next", publishing))
	}
}

type known struct{ Order string }

// Replaced by: a command that its receiver does not know is a dead letter.
func TestStockCommandProcessor_DropsUnknownCommand(t *testing.T) {
	t.Parallel()
	db := fresh(t)
	var out bytes.Buffer
	log := watermill.NewSlogLogger(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})))
	router, err := message.NewRouter(message.RouterConfig{}, watermill.NopLogger{})
	require.NoError(t, err)
	s := newSubscriber(t, db, stockQueue())
	processor, err := cqrs.NewCommandProcessorWithConfig(router, cqrs.CommandProcessorConfig{
		GenerateSubscribeTopic: func(cqrs.CommandProcessorGenerateSubscribeTopicParams) (string, error) { return "commands", nil },
		SubscriberConstructor:  func(cqrs.CommandProcessorSubscriberConstructorParams) (message.Subscriber, error) { return s, nil },
		Marshaler:              cqrs.JSONMarshaler{}, Logger: log,
	})
	require.NoError(t, err)
	require.NoError(t, processor.AddHandlers(cqrs.NewCommandHandler("known", func(context.Context, *known) error { return nil })))
	publish(t, publisher(t, db, wsql.PostgreSQLQueueSchema{}), "commands", "of an unknown type")
	out.Reset()
	done := make(chan error, 1)
	go func() { done <- router.Run(context.Background()) }()
	<-router.Running()
	becomes(t, db, "0", `SELECT count(*) FROM watermill_commands`)
	require.NoError(t, router.Close())
	require.NoError(t, await(t, "the router", done))
	require.NotContains(t, out.String(), "ERROR", "mended upstream, if an error is logged")
	require.NotContains(t, out.String(), "WARN")
}

// processEvents runs a processor over the topic "events" until stop, or the test's end.
func processEvents(t *testing.T, db *sql.DB, ackUnknown bool, handlers ...cqrs.EventHandler) (stop func()) {
	t.Helper()
	router, err := message.NewRouter(message.RouterConfig{}, watermill.NopLogger{})
	require.NoError(t, err)
	processor, err := cqrs.NewEventProcessorWithConfig(router, cqrs.EventProcessorConfig{
		GenerateSubscribeTopic: func(cqrs.EventProcessorGenerateSubscribeTopicParams) (string, error) { return "events", nil },
		SubscriberConstructor: func(p cqrs.EventProcessorSubscriberConstructorParams) (message.Subscriber, error) {
			cfg := stockLog()
			cfg.ConsumerGroup = p.HandlerName
			return newSubscriber(t, db, cfg), nil
		},
		AckOnUnknownEvent: ackUnknown,
		Marshaler:         cqrs.JSONMarshaler{}, Logger: watermill.NopLogger{},
	})
	require.NoError(t, err)
	require.NoError(t, processor.AddHandlers(handlers...))
	done := make(chan error, 1)
	go func() { done <- router.Run(context.Background()) }()
	<-router.Running()
	stop = sync.OnceFunc(func() { require.NoError(t, errors.Join(router.Close(), <-done)) })
	t.Cleanup(stop)
	return stop
}

// newer is an event that only the next version of a handler knows.
type newer struct{ Order string }

func sayEvents(t *testing.T, p message.Publisher, events ...any) {
	t.Helper()
	for _, event := range events {
		msg, err := cqrs.JSONMarshaler{}.Marshal(event)
		require.NoError(t, err)
		require.NoError(t, p.Publish("events", msg))
	}
}

// Replaced by: what a subscriber has not subscribed to is skipped, and a type
// that a newer version subscribes to is kept for that version.
func TestStockEventProcessor_BlocksOnUnknownEvent(t *testing.T) {
	t.Parallel()
	db, handled := fresh(t), make(chan *message.Message, 10)
	sayEvents(t, publisher(t, db, wsql.DefaultPostgreSQLSchema{}), newer{"17"}, known{"18"})
	processEvents(t, db, false, cqrs.NewEventHandler("accounts", func(_ context.Context, e *known) error {
		handled <- message.NewMessage(e.Order, nil)
		return nil
	}))
	nothing(t, handled, "an event behind one of an unknown type is handled")
}

// Replaced by: the same. With the setting that lets the others pass, what an older
// version of a handler has met never reaches the newer one.
func TestStockEventProcessor_LosesEventOfNewerVersion(t *testing.T) {
	t.Parallel()
	db, handled := fresh(t), make(chan string, 10)
	older := func(_ context.Context, e *known) error {
		handled <- e.Order
		return nil
	}
	p := publisher(t, db, wsql.DefaultPostgreSQLSchema{})
	sayEvents(t, p, newer{"17"}, known{"18"})
	stop := processEvents(t, db, true, cqrs.NewEventHandler("accounts", older))
	require.Equal(t, "18", await(t, "the event behind it", handled))
	becomes(t, db, "2", `SELECT offset_acked FROM watermill_offsets_events`)
	stop()
	processEvents(t, db, true, cqrs.NewEventHandler("accounts", func(_ context.Context, e *newer) error {
		handled <- e.Order
		return nil
	}))
	sayEvents(t, p, newer{"19"})
	require.Equal(t, "19", await(t, "an event of a type that the newer version knows", handled), "mended upstream, if the one before it comes first")
}
