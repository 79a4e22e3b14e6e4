//go:build stock

package stock_test

import (
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	wsql "github.com/ThreeDotsLabs/watermill-sql/v4/pkg/sql"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/stretchr/testify/require"

	"millrace/platform/postgres/pgtest"
)

// Replaced by: reader.go, which reads by offsets that follow the commit order.
func TestStockSubscriber_WaitsForAnyOpenTransactionOfCluster(t *testing.T) {
	t.Parallel()
	db, another := fresh(t), open(t, pgtest.URL(t), 1) // another database of the same server
	messages, _ := subscribe(t, db, "payments", stockLog())
	p := publisher(t, db, wsql.DefaultPostgreSQLSchema{})
	publish(t, p, "payments", "a")
	receive(t, messages).Ack()

	exec(t, another, `CREATE TABLE unrelated (n int)`)
	slow, err := another.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	exec(t, slow, `INSERT INTO unrelated VALUES (1)`)
	publish(t, p, "payments", "b")
	nothing(t, messages, "a committed message was delivered although an unrelated transaction is open")
	require.NoError(t, slow.Rollback())
	receive(t, messages).Ack()
}

// The handler of one topic runs inside its subscriber's transaction, which
// already wrote something: so every other topic waits for it.
func TestStockSubscriber_SlowHandlerStopsOtherTopics(t *testing.T) {
	t.Parallel()
	db := fresh(t)
	exec(t, db, `CREATE TABLE effects (n int)`)
	slow, _ := subscribe(t, db, "slow", stockLog())
	other, _ := subscribe(t, db, "other", stockLog())
	p := publisher(t, db, wsql.DefaultPostgreSQLSchema{})
	publish(t, p, "slow", "a")
	msg := receive(t, slow) // its handler is at work from here on
	publish(t, p, "other", "b")
	nothing(t, other, "another topic's message was delivered while a handler is at work")
	msg.Ack()
	receive(t, other).Ack()
}

// Replaced by: partitions, each with an owner.
func TestStockQueue_ConsumersWorkOneAtATime(t *testing.T) {
	t.Parallel()
	db := fresh(t)
	const consumers = 4
	delivered := make(chan *message.Message, consumers)
	for range consumers {
		messages, _ := subscribe(t, db, "commands", stockQueue())
		go func() {
			for msg := range messages {
				delivered <- msg
			}
		}()
	}
	publish(t, publisher(t, db, wsql.PostgreSQLQueueSchema{}), "commands", names(40)...)
	first := await(t, "the first command", delivered)
	becomes(t, db, "3", `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%watermill_commands%'`)
	nothing(t, delivered, "two consumers of one queue are at work at once")
	first.Nack()
}

// polls reports each time the subscriber found nothing, and waits for the next poll.
type polls struct {
	wsql.BackoffManager
	idle chan struct{}
}

func (p polls) HandleError(logger watermill.LoggerAdapter, noMsg bool, err error) time.Duration {
	if noMsg && err == nil {
		p.idle <- struct{}{}
	}
	return p.BackoffManager.HandleError(logger, noMsg, err)
}

// Replaced by: a commit wakes this process's readers, and a notification the others.
func TestStockSubscriber_SleepsUntilNextPoll(t *testing.T) {
	t.Parallel()
	db := fresh(t)
	cfg, watch := stockLog(), polls{wsql.NewDefaultBackoffManager(time.Hour, poll), make(chan struct{}, 100)}
	cfg.BackoffManager = watch
	messages, _ := subscribe(t, db, "payments", cfg)
	await(t, "the first poll", watch.idle)
	publish(t, publisher(t, db, wsql.DefaultPostgreSQLSchema{}), "payments", "a")
	nothing(t, messages, "a message was delivered without a poll")
	require.Empty(t, watch.idle)
}

// Replaced by: progress is committed after each short run.
func TestStockSubscriber_ShutdownRepeatsFinishedAndCancelsInFlight(t *testing.T) {
	t.Parallel()
	db := fresh(t)
	messages, stop := subscribe(t, db, "payments", stockLog())
	publish(t, publisher(t, db, wsql.DefaultPostgreSQLSchema{}), "payments", names(7)...)
	for range 6 {
		receive(t, messages).Ack()
	}
	inFlight := receive(t, messages)
	stop()
	require.Error(t, inFlight.Context().Err(), "mended upstream: a shutdown leaves the message in flight its context")
	again, _ := subscribe(t, db, "payments", stockLog())
	require.Equal(t, "00", receive(t, again).UUID, "mended upstream, if it goes on behind the six that were finished")
}

func TestStockSubscriber_RepeatsWholeBatchAfterLostConnection(t *testing.T) {
	t.Parallel()
	db := fresh(t)
	messages, _ := subscribe(t, db, "payments", stockLog())
	publish(t, publisher(t, db, wsql.DefaultPostgreSQLSchema{}), "payments", names(7)...)
	for range 6 {
		receive(t, messages).Ack()
	}
	inFlight := receive(t, messages)
	exec(t, db, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'`)
	inFlight.Ack()
	require.Equal(t, "00", receive(t, messages).UUID, "mended upstream, if it goes on behind the seven that were finished")
}

// Replaced by: the inbox and the effect in one transaction that the worker owns.
func TestStockTransaction_IsNotRolledBackOnNack(t *testing.T) {
	t.Parallel()
	db := fresh(t)
	exec(t, db, `CREATE TABLE effects (n int)`)
	messages, _ := subscribe(t, db, "payments", stockLog())
	publish(t, publisher(t, db, wsql.DefaultPostgreSQLSchema{}), "payments", "a")
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
	require.Eventually(t, func() bool { return rowsOf(t, db, "effects") != "0" }, patience, poll)
	require.Equal(t, "3", rowsOf(t, db, "effects"), "two nacks and one ack should leave one effect; if they do, it was mended upstream")
}

// Replaced by: a run that fails is done again with a savepoint around each message.
func TestStockSubscriber_SQLErrorOfOneMessagePoisonsNeighbours(t *testing.T) {
	t.Parallel()
	db := fresh(t)
	exec(t, db, `CREATE TABLE effects (n int)`)
	publish(t, publisher(t, db, wsql.DefaultPostgreSQLSchema{}), "payments", "bad", "healthy")
	var copies calls
	poison, err := middleware.PoisonQueue(publishFunc(func(_ string, messages ...*message.Message) error {
		copies.add(messages[0].UUID)
		return nil
	}), "poison")
	require.NoError(t, err)
	handle(t, newSubscriber(t, db, stockLog()), "payments", func(msg *message.Message) error {
		query := `INSERT INTO effects VALUES (1)`
		if msg.UUID == "bad" {
			query = `SELECT 1/0`
		}
		tx, _ := wsql.TxFromContext(msg.Context())
		_, err := tx.ExecContext(msg.Context(), query)
		return err
	}, poison)
	require.Eventually(t, func() bool { return copies.of("bad") > 3 && copies.of("healthy") > 3 }, patience, poll,
		"mended upstream, if a healthy message is not poisoned beside one with an SQL error")
	require.Equal(t, "0", rowsOf(t, db, "effects"))
}

// Replaced by: the inbox.
func TestStockSubscriber_HandlesDuplicates(t *testing.T) {
	t.Parallel()
	db := fresh(t)
	messages, _ := subscribe(t, db, "payments", stockLog())
	publish(t, publisher(t, db, wsql.DefaultPostgreSQLSchema{}), "payments", "a", "a")
	for range 2 {
		msg := receive(t, messages)
		require.Equal(t, "a", msg.UUID)
		msg.Ack()
	}
}

// Replaced by: pools whose sizes are checked at the start; a handler works in
// its run's transaction.
func TestStockSubscriber_DeadlocksWithHandlersOnSmallPool(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	db, watch := open(t, url, 3), open(t, url, 1)
	exec(t, watch, `CREATE TABLE effects (n int)`)
	p := publisher(t, watch, wsql.DefaultPostgreSQLSchema{})
	var starts []func()
	entered := make(chan struct{}, 100)
	for _, topic := range names(3) {
		publish(t, p, topic, "a")
		s := newSubscriber(t, db, stockLog())
		require.NoError(t, s.(message.SubscribeInitializer).SubscribeInitialize(topic))
		starts = append(starts, func() {
			handle(t, s, topic, func(msg *message.Message) error {
				entered <- struct{}{}
				for len(entered) < 3 && msg.Context().Err() == nil { // all three hold a connection
					<-time.After(poll)
				}
				_, err := db.ExecContext(msg.Context(), `INSERT INTO effects VALUES (1)`)
				return err
			})
		})
	}
	for _, start := range starts {
		start()
	}
	require.Eventually(t, func() bool { return len(entered) >= 3 && db.Stats().InUse == 3 }, patience, poll)
	<-time.After(brief)
	require.Equal(t, "0", rowsOf(t, watch, "effects"), "mended upstream, if handlers find a connection while each subscriber holds one")
	require.Equal(t, 3, db.Stats().InUse)
}
