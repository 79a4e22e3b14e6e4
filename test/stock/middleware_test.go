//go:build stock

package stock_test

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	wsql "github.com/ThreeDotsLabs/watermill-sql/v4/pkg/sql"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/stretchr/testify/require"

	"millrace/platform/postgres/pgtest"
)

// poisonInto is the stock poison queue, on the stock publisher.
func poisonInto(t *testing.T, db *sql.DB) message.HandlerMiddleware {
	t.Helper()
	poison, err := middleware.PoisonQueue(publisher(t, db, wsql.DefaultPostgreSQLSchema{}), "poison")
	require.NoError(t, err)
	return poison
}

// Used with a filter instead (PoisonQueueWithFilter): a shutdown is no
// message's fault.
func TestStockPoisonQueue_PoisonsHealthyMessagesAtShutdown(t *testing.T) {
	t.Parallel()
	db := fresh(t)
	stopping, shutDown := context.WithCancel(t.Context())
	handle(t, newSubscriber(t, db, stockLog()), "payments", func(*message.Message) error {
		<-stopping.Done()
		return stopping.Err() // as every call does that was given the program's context
	}, poisonInto(t, db))
	publish(t, publisher(t, db, wsql.DefaultPostgreSQLSchema{}), "payments", names(6)...)
	shutDown()
	require.Eventually(t, func() bool { return rowsOf(t, db, "watermill_poison") == "6" }, patience, poll,
		"mended upstream, if the healthy messages of a shutdown are not poisoned")
}

// A database that is away is no message's fault either.
func TestStockPoisonQueue_PoisonsHealthyMessagesAfterLostConnection(t *testing.T) {
	t.Parallel()
	db, work := fresh(t), open(t, pgtest.URL(t), 2) // messages here, effects there
	exec(t, work, `CREATE TABLE effects (n int)`)
	once := sync.OnceFunc(func() {
		exec(t, work, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'`)
	})
	handle(t, newSubscriber(t, db, stockLog()), "payments", func(msg *message.Message) error {
		tx, err := work.BeginTx(msg.Context(), nil)
		if err != nil {
			return err
		}
		defer tx.Rollback() //nolint:errcheck // it is committed, or its error is known
		if _, err := tx.ExecContext(msg.Context(), `INSERT INTO effects VALUES (1)`); err != nil {
			return err
		}
		once()
		return tx.Commit()
	}, poisonInto(t, db))
	publish(t, publisher(t, db, wsql.DefaultPostgreSQLSchema{}), "payments", "healthy")
	require.Eventually(t, func() bool { return rowsOf(t, db, "watermill_poison") == "1" }, patience, poll,
		"mended upstream, if a message is tried again when the database is back")
}

// Replaced by: the parked message is written in the transaction that moves the offset.
func TestStockPoisonQueue_PublishesOutsideAckTransaction(t *testing.T) {
	t.Parallel()
	db := fresh(t)
	reached, goOn := make(chan struct{}, 10), make(chan struct{})
	handle(t, newSubscriber(t, db, stockLog()), "payments", func(msg *message.Message) error {
		if msg.UUID == "bad" {
			return errFails
		}
		reached <- struct{}{}
		<-goOn
		return nil
	}, poisonInto(t, db))
	publish(t, publisher(t, db, wsql.DefaultPostgreSQLSchema{}), "payments", "bad", "next")
	await(t, "the message behind the bad one", reached)
	exec(t, db, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'`)
	close(goOn)
	require.Eventually(t, func() bool { return rowsOf(t, db, "watermill_poison") == "2" }, patience, poll,
		"one failed message should be one dead letter, whatever becomes of the connection")
}

// Replaced by: the parked message keeps the message as it was, and attempts, times,
// kind and text of the error beside it.
func TestStockPoisonQueue_ChangesMessageAndCountsNoAttempts(t *testing.T) {
	t.Parallel()
	var poisoned []*message.Message
	poison, err := middleware.PoisonQueue(publishFunc(func(_ string, messages ...*message.Message) error {
		poisoned = append(poisoned, messages...)
		return nil
	}), "poison")
	require.NoError(t, err)
	handler := poison(middleware.Retry{MaxRetries: 2, Multiplier: 1}.Middleware(func(*message.Message) ([]*message.Message, error) { return nil, errFails }))
	msg := message.NewMessage("a", nil)
	msg.Metadata = message.Metadata{"reason_poisoned": "set by its sender", "order": "17"}
	_, err = handler(msg)
	require.NoError(t, err)
	require.Equal(t, message.Metadata{
		"order": "17", "reason_poisoned": errFails.Error(), "topic_poisoned": "", "handler_poisoned": "", "subscriber_poisoned": "",
	}, poisoned[0].Metadata, "mended upstream, if it has the number of attempts, or keeps the sender's value")
}

// Replaced by: dead letters are bytes, in a table of their own.
func TestStockPoisonQueue_MalformedMessageBlocksTopic(t *testing.T) {
	t.Parallel()
	db := fresh(t)
	bytes := wsql.DefaultPostgreSQLSchema{GeneratePayloadType: func(string) string { return "BYTEA" }}
	p := publisher(t, db, bytes)
	require.NoError(t, p.Publish("payments", message.NewMessage("malformed", []byte(`{"order":`))))
	publish(t, p, "payments", "behind")
	var handled calls
	cfg := stockLog()
	cfg.SchemaAdapter = bytes
	handle(t, newSubscriber(t, db, cfg), "payments", func(msg *message.Message) error {
		handled.add(msg.UUID)
		if msg.UUID == "malformed" {
			return errFails
		}
		return nil
	}, poisonInto(t, db))
	require.Eventually(t, func() bool { return handled.of("malformed") > 10 }, patience, poll)
	require.Zero(t, handled.of("behind"), "mended upstream, if what is behind a malformed message is handled")
	require.Equal(t, "0", rowsOf(t, db, "watermill_poison"))
}

// Replaced by: a failed message is parked, without a transaction.
func TestStockRetry_LongerThanAckDeadlineNeverEnds(t *testing.T) {
	t.Parallel()
	db := fresh(t)
	var handled calls
	retry := middleware.Retry{MaxRetries: 3, InitialInterval: 4 * poll, MaxInterval: 4 * poll, Multiplier: 1}
	handle(t, newSubscriber(t, db, deadline(stockLog(), 10*poll)), "payments", func(msg *message.Message) error {
		handled.add(msg.UUID)
		if msg.UUID == "bad" {
			return errFails
		}
		return nil
	}, poisonInto(t, db), retry.Middleware)
	publish(t, publisher(t, db, wsql.DefaultPostgreSQLSchema{}), "payments", "bad", "behind")
	require.Eventually(t, func() bool { return handled.of("bad") >= 20 }, patience, poll, "four calls are allowed; mended upstream, if it ends there")
	require.Equal(t, "0", rowsOf(t, db, "watermill_poison"))
	require.Zero(t, handled.of("behind"))
}

// Replaced by: other keys go on while a failed message waits.
func TestStockRetry_BlocksAllKeysWhileItSleeps(t *testing.T) {
	t.Parallel()
	db := fresh(t)
	handled := make(chan *message.Message, 10)
	retry := middleware.Retry{MaxRetries: 3, InitialInterval: time.Hour, MaxInterval: time.Hour, Multiplier: 1}
	handle(t, newSubscriber(t, db, stockLog()), "payments", func(msg *message.Message) error {
		handled <- msg.Copy()
		if msg.UUID == "bad" {
			return errFails
		}
		return nil
	}, retry.Middleware)
	publish(t, publisher(t, db, wsql.DefaultPostgreSQLSchema{}), "payments", "bad", "another order's")
	require.Equal(t, "bad", await(t, "the bad one", handled).UUID)
	nothing(t, handled, "another key's message is handled while Retry sleeps")
}

// waits keeps the pauses that Retry reports.
type waits struct {
	watermill.NopLogger
	all []time.Duration
}

func (w *waits) Error(_ string, _ error, fields watermill.LogFields) {
	w.all = append(w.all, fields["wait_time"].(time.Duration))
}

// Used with a multiplier of 1, which makes it harmless.
func TestStockRetry_ShouldRetryHookDelaysRetries(t *testing.T) {
	t.Parallel()
	log := &waits{}
	retry := middleware.Retry{MaxRetries: 3, InitialInterval: time.Millisecond, MaxInterval: time.Second, Multiplier: 2, Logger: log,
		ShouldRetry: func(middleware.RetryParams) bool { return true }}
	_, err := retry.Middleware(func(*message.Message) ([]*message.Message, error) { return nil, errFails })(message.NewMessage("a", nil))
	require.ErrorIs(t, err, errFails)
	ms := time.Millisecond
	require.Equal(t, []time.Duration{2 * ms, 8 * ms, 32 * ms}, log.all, "mended upstream, if these are 1, 2 and 4 ms")
}

// Replaced by: the inbox, which is written in the effect's transaction.
func TestStockDeduplicator_LosesMessageRedeliveredAfterFailure(t *testing.T) {
	t.Parallel()
	db := fresh(t)
	var handled calls
	d := &middleware.Deduplicator{KeyFactory: func(msg *message.Message) (string, error) { return msg.UUID, nil }}
	handle(t, newSubscriber(t, db, stockLog()), "payments", func(msg *message.Message) error {
		if handled.add(msg.UUID) == 1 {
			return errors.New("the database is away")
		}
		return nil
	}, d.Middleware)
	publish(t, publisher(t, db, wsql.DefaultPostgreSQLSchema{}), "payments", "a")
	becomes(t, db, "1", `SELECT offset_acked FROM watermill_offsets_payments`)
	require.Equal(t, 1, handled.of("a"), "it failed, and should be handled again; if it is, it was mended upstream")
}

// Replaced by: timeLimit in platform/bus/chain.go.
func TestStockTimeout_LeavesEndedContextOnMessage(t *testing.T) {
	t.Parallel()
	handler := middleware.Timeout(time.Minute)(func(*message.Message) ([]*message.Message, error) { return nil, nil })
	msg := message.NewMessage("a", nil)
	_, err := handler(msg)
	require.NoError(t, err)
	require.ErrorIs(t, msg.Context().Err(), context.Canceled)
}
