package stock_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	wsql "github.com/ThreeDotsLabs/watermill-sql/v4/pkg/sql"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/stretchr/testify/require"

	"millrace/platform/postgres"
	"millrace/platform/postgres/pgtest"
)

// patience bounds what must happen; brief is how long something is given that
// must not happen, a hundred times the poll interval.
const (
	poll     = 10 * time.Millisecond
	patience = 10 * time.Second
	brief    = 100 * poll
)

func open(t *testing.T) *sql.DB {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Config{URL: pgtest.URL(t), MaxConns: 20, IdleInTxTimeout: time.Minute})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

func publisher(t *testing.T, db *sql.DB, schema wsql.SchemaAdapter) message.Publisher {
	t.Helper()
	p, err := wsql.NewPublisher(wsql.BeginnerFromStdSQL(db), wsql.PublisherConfig{SchemaAdapter: schema, AutoInitializeSchema: true}, watermill.NopLogger{})
	require.NoError(t, err)
	return p
}

func subscribe(t *testing.T, db *sql.DB, topic string, cfg wsql.SubscriberConfig) (<-chan *message.Message, func()) {
	t.Helper()
	cfg.InitializeSchema, cfg.PollInterval, cfg.ResendInterval, cfg.RetryInterval = true, poll, poll, poll
	s, err := wsql.NewSubscriber(wsql.BeginnerFromStdSQL(db), cfg, watermill.NopLogger{})
	require.NoError(t, err)
	messages, err := s.Subscribe(t.Context(), topic)
	require.NoError(t, err)
	return messages, func() { require.NoError(t, s.Close()) }
}

func receive(t *testing.T, messages <-chan *message.Message) *message.Message {
	t.Helper()
	select {
	case msg := <-messages:
		return msg
	case <-time.After(patience):
		require.FailNow(t, "nothing was delivered")
		return nil
	}
}

// Replaced by: reader.go, which reads by offsets that follow the commit order.
func TestStockSubscriberWaitsForAnyOpenTransactionOfTheCluster(t *testing.T) {
	t.Parallel()
	db := open(t)
	messages, stop := subscribe(t, db, "payments", wsql.SubscriberConfig{SchemaAdapter: wsql.DefaultPostgreSQLSchema{}, OffsetsAdapter: wsql.DefaultPostgreSQLOffsetsAdapter{}})
	defer stop()
	p := publisher(t, db, wsql.DefaultPostgreSQLSchema{})
	require.NoError(t, p.Publish("payments", message.NewMessage("a", []byte(`{}`))))
	receive(t, messages).Ack()

	_, err := db.ExecContext(t.Context(), `CREATE TABLE unrelated (n int)`)
	require.NoError(t, err)
	slow, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	_, err = slow.ExecContext(t.Context(), `INSERT INTO unrelated VALUES (1)`)
	require.NoError(t, err)
	require.NoError(t, p.Publish("payments", message.NewMessage("b", []byte(`{}`))))
	select {
	case msg := <-messages:
		msg.Ack()
		require.NoError(t, slow.Rollback())
		t.Fatal("a committed message was delivered although an unrelated transaction is open: the stock subscriber was mended")
	case <-time.After(brief):
	}
	require.NoError(t, slow.Rollback())
	receive(t, messages).Ack()
}

// Replaced by: a queue is a log with one subscriber, whose position only moves
// with a committed effect.
func TestStockQueueDeletesCommandsThatWereNeverAcked(t *testing.T) {
	t.Parallel()
	db := open(t)
	deadline := 50 * time.Millisecond
	schema := wsql.PostgreSQLQueueSchema{}
	messages, stop := subscribe(t, db, "commands", wsql.SubscriberConfig{
		SchemaAdapter: schema, OffsetsAdapter: wsql.PostgreSQLQueueOffsetsAdapter{DeleteOnAck: true}, AckDeadline: &deadline,
	})
	p := publisher(t, db, schema)
	batch := make([]*message.Message, 10)
	for i := range batch {
		batch[i] = message.NewMessage(watermill.NewUUID(), []byte(`{}`))
	}
	require.NoError(t, p.Publish("commands", batch...))
	acked := map[string]bool{}
	first := receive(t, messages)
	acked[first.UUID] = true
	first.Ack()
	receive(t, messages) // the second is never acked: its deadline passes

	left := func() (n int) {
		require.NoError(t, db.QueryRowContext(t.Context(), `SELECT count(*) FROM watermill_commands`).Scan(&n))
		return n
	}
	require.Eventually(t, func() bool { return left() < 10 }, patience, poll)
	require.Less(t, left(), 9, "only one command was acked; if 9 are left, the stock queue was mended")
	stop()
}

// Replaced by: the inbox and the effect in one transaction that the worker owns.
func TestStockTransactionInContextIsNotRolledBackOnANack(t *testing.T) {
	t.Parallel()
	db := open(t)
	_, err := db.ExecContext(t.Context(), `CREATE TABLE effects (n int)`)
	require.NoError(t, err)
	messages, stop := subscribe(t, db, "payments", wsql.SubscriberConfig{SchemaAdapter: wsql.DefaultPostgreSQLSchema{}, OffsetsAdapter: wsql.DefaultPostgreSQLOffsetsAdapter{}})
	defer stop()
	require.NoError(t, publisher(t, db, wsql.DefaultPostgreSQLSchema{}).Publish("payments", message.NewMessage("a", []byte(`{}`))))
	for attempt := range 3 {
		msg := receive(t, messages)
		tx, ok := wsql.TxFromContext(msg.Context())
		require.True(t, ok)
		_, err := tx.ExecContext(msg.Context(), `INSERT INTO effects VALUES ($1)`, attempt)
		require.NoError(t, err)
		if attempt < 2 {
			msg.Nack()
		} else {
			msg.Ack()
		}
	}
	effects := func() (n int) {
		require.NoError(t, db.QueryRowContext(t.Context(), `SELECT count(*) FROM effects`).Scan(&n))
		return n
	}
	require.Eventually(t, func() bool { return effects() > 0 }, patience, poll)
	require.Equal(t, 3, effects(), "two nacks and one ack should leave one effect; if they do, the stock subscriber was mended")
}

// Used with a filter instead (PoisonQueueWithFilter): a shutdown, or a database
// that is away, is no message's fault.
func TestStockPoisonQueuePoisonsHealthyMessagesAtAShutdown(t *testing.T) {
	t.Parallel()
	poisoned := 0
	poison, err := middleware.PoisonQueue(publishFunc(func() { poisoned++ }), "poison")
	require.NoError(t, err)
	handler := poison(func(*message.Message) ([]*message.Message, error) { return nil, context.Canceled })
	_, err = handler(message.NewMessage("a", nil))
	require.NoError(t, err)
	require.Equal(t, 1, poisoned)
}

// Replaced by: the inbox, which is written in the effect's transaction.
func TestStockDeduplicatorLosesAMessageThatIsDeliveredAgainAfterAFailure(t *testing.T) {
	t.Parallel()
	d := &middleware.Deduplicator{}
	calls := 0
	handler := d.Middleware(func(*message.Message) ([]*message.Message, error) {
		calls++
		return nil, errors.New("the database is away")
	})
	_, err := handler(message.NewMessage("a", []byte("payment 1")))
	require.Error(t, err)
	_, err = handler(message.NewMessage("a", []byte("payment 1"))) // delivered again, since it failed
	require.NoError(t, err)
	require.Equal(t, 1, calls, "the second delivery should be handled; if it is, the stock deduplicator was mended")
}

// Replaced by: timeLimit in platform/bus/chain.go.
func TestStockTimeoutLeavesItsDeadContextOnTheMessage(t *testing.T) {
	t.Parallel()
	handler := middleware.Timeout(time.Minute)(func(*message.Message) ([]*message.Message, error) { return nil, nil })
	msg := message.NewMessage("a", nil)
	_, err := handler(msg)
	require.NoError(t, err)
	require.ErrorIs(t, msg.Context().Err(), context.Canceled)
}

// Replaced by: BYTEA payloads.
func TestStockSchemaCannotStoreAMalformedMessage(t *testing.T) {
	t.Parallel()
	p := publisher(t, open(t), wsql.DefaultPostgreSQLSchema{})
	require.NoError(t, p.Publish("poison", message.NewMessage("a", []byte(`{}`))))
	require.Error(t, p.Publish("poison", message.NewMessage("b", []byte(`not JSON`))))
}

type publishFunc func()

func (f publishFunc) Publish(string, ...*message.Message) error { f(); return nil }
func (f publishFunc) Close() error                              { return nil }
