//go:build stock

package stock_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	wsql "github.com/ThreeDotsLabs/watermill-sql/v4/pkg/sql"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"millrace/platform/postgres"
	"millrace/platform/postgres/pgtest"
)

// patience bounds what must happen; brief is how long something is given that
// must not happen, a hundred times the poll interval.
const (
	poll     = 10 * time.Millisecond
	patience = 60 * time.Second
	brief    = 100 * poll
)

var errFails = errors.New("the handler fails")

// open is a pool as this program has them, which is kind to the stock parts: a
// transaction may stay idle for a minute.
func open(t *testing.T, url string, conns int) *sql.DB {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Config{URL: url, Schema: "public", MaxConns: conns, IdleInTxTimeout: time.Minute, LockTimeout: time.Minute})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

func fresh(t *testing.T) *sql.DB {
	t.Helper()
	return open(t, pgtest.URL(t), 20)
}

// stockLog and stockQueue are the two ways in which watermill-sql keeps messages.
func stockLog() wsql.SubscriberConfig {
	return wsql.SubscriberConfig{SchemaAdapter: wsql.DefaultPostgreSQLSchema{}, OffsetsAdapter: wsql.DefaultPostgreSQLOffsetsAdapter{}}
}

func stockQueue() wsql.SubscriberConfig {
	return wsql.SubscriberConfig{SchemaAdapter: wsql.PostgreSQLQueueSchema{}, OffsetsAdapter: wsql.PostgreSQLQueueOffsetsAdapter{DeleteOnAck: true}}
}

// deadline sets the deadline after which a message that is not acked is redelivered.
func deadline(cfg wsql.SubscriberConfig, d time.Duration) wsql.SubscriberConfig {
	cfg.AckDeadline = &d
	return cfg
}

func publisher(t *testing.T, db *sql.DB, schema wsql.SchemaAdapter) message.Publisher {
	t.Helper()
	p, err := wsql.NewPublisher(wsql.BeginnerFromStdSQL(db), wsql.PublisherConfig{SchemaAdapter: schema, AutoInitializeSchema: true}, watermill.NopLogger{})
	require.NoError(t, err)
	return p
}

// publish publishes messages whose ids are the names; their payload is {}.
func publish(t *testing.T, p message.Publisher, topic string, names ...string) {
	t.Helper()
	var all []*message.Message
	for _, name := range names {
		all = append(all, message.NewMessage(name, []byte(`{}`)))
	}
	require.NoError(t, p.Publish(topic, all...))
}

// names are the numbers below n, as names.
func names(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("%02d", i))
	}
	return all
}

func newSubscriber(t *testing.T, db *sql.DB, cfg wsql.SubscriberConfig) message.Subscriber {
	t.Helper()
	cfg.InitializeSchema = true
	for _, interval := range []*time.Duration{&cfg.PollInterval, &cfg.ResendInterval, &cfg.RetryInterval} {
		if *interval == 0 {
			*interval = poll
		}
	}
	s, err := wsql.NewSubscriber(wsql.BeginnerFromStdSQL(db), cfg, watermill.NopLogger{})
	require.NoError(t, err)
	return s
}

// subscribe returns what a topic delivers, and what ends that.
func subscribe(t *testing.T, db *sql.DB, topic string, cfg wsql.SubscriberConfig) (<-chan *message.Message, func()) {
	t.Helper()
	s := newSubscriber(t, db, cfg)
	ctx, cancel := context.WithCancel(context.Background())
	messages, err := s.Subscribe(ctx, topic)
	require.NoError(t, err)
	stop := sync.OnceFunc(func() {
		cancel()
		require.NoError(t, s.Close())
	})
	t.Cleanup(stop)
	return messages, stop
}

func receive(t *testing.T, messages <-chan *message.Message) *message.Message {
	t.Helper()
	select {
	case msg, open := <-messages:
		require.True(t, open, "the subscription has ended")
		return msg
	case <-time.After(patience):
		require.FailNow(t, "nothing was delivered")
		return nil
	}
}

// nothing checks that nothing is delivered; what was, would be news.
func nothing(t *testing.T, messages <-chan *message.Message, mended string) {
	t.Helper()
	select {
	case msg := <-messages:
		msg.Ack()
		require.Fail(t, "it was mended upstream: "+mended)
	case <-time.After(brief):
	}
}

func exec(t *testing.T, db interface {
	ExecContext(context.Context, string, ...any) (sql.Result, error)
}, query string, args ...any) {
	t.Helper()
	_, err := db.ExecContext(t.Context(), query, args...)
	require.NoError(t, err, query)
}

// text is the one value that a query answers.
func text(t *testing.T, db *sql.DB, query string, args ...any) (value string) {
	t.Helper()
	require.NoError(t, db.QueryRowContext(t.Context(), query, args...).Scan(&value), query)
	return value
}

func becomes(t *testing.T, db *sql.DB, want, query string, args ...any) {
	t.Helper()
	require.Eventually(t, func() bool { return text(t, db, query, args...) == want }, patience, poll, "%s: wanted %s", query, want)
}

// rowsOf counts a table's rows, also before there is one.
func rowsOf(t *testing.T, db *sql.DB, table string) string {
	t.Helper()
	if text(t, db, `SELECT coalesce(to_regclass($1)::text, '')`, table) == "" {
		return "0"
	}
	return text(t, db, `SELECT count(*) FROM `+pq.QuoteIdentifier(table))
}

// handle runs a router with one handler until the test's end, or until stop.
func handle(t *testing.T, s message.Subscriber, topic string, handler message.NoPublishHandlerFunc, chain ...message.HandlerMiddleware) (stop func()) {
	t.Helper()
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: 50 * poll}, watermill.NopLogger{})
	require.NoError(t, err)
	router.AddMiddleware(chain...)
	router.AddConsumerHandler("handler", topic, s, handler)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- router.Run(ctx) }()
	<-router.Running()
	stop = sync.OnceFunc(func() {
		cancel()
		_ = router.Close() // it may time out: that is what some of these tests are about
		require.NoError(t, <-done)
	})
	t.Cleanup(stop)
	return stop
}

// await waits for a signal.
func await[T any](t *testing.T, what string, signal <-chan T) T {
	t.Helper()
	select {
	case v := <-signal:
		return v
	case <-time.After(patience):
		require.FailNow(t, "waited in vain", what)
		panic("unreachable")
	}
}

// calls counts by name.
type calls struct {
	mu sync.Mutex
	n  map[string]int
}

func (c *calls) add(name string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[string]int{}
	}
	c.n[name]++
	return c.n[name]
}

func (c *calls) of(name string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n[name]
}

// publishFunc is a publisher.
type publishFunc func(topic string, messages ...*message.Message) error

func (f publishFunc) Publish(topic string, messages ...*message.Message) error {
	return f(topic, messages...)
}
func (f publishFunc) Close() error { return nil }
