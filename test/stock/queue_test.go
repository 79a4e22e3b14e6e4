//go:build stock

package stock_test

import (
	"math"
	"strings"
	"testing"

	"github.com/ThreeDotsLabs/watermill"
	wsql "github.com/ThreeDotsLabs/watermill-sql/v4/pkg/sql"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"
)

// Replaced by: a queue is a log with one subscriber, whose position only moves
// with a committed effect.
func TestStockQueue_DeletesUnackedCommands(t *testing.T) {
	t.Parallel()
	db := fresh(t)
	messages, _ := subscribe(t, db, "commands", deadline(stockQueue(), 50*poll))
	publish(t, publisher(t, db, wsql.PostgreSQLQueueSchema{}), "commands", names(10)...)
	receive(t, messages).Ack()
	receive(t, messages) // the second is never acked: its deadline passes
	require.Eventually(t, func() bool { return rowsOf(t, db, "watermill_commands") != "10" }, patience, poll)
	require.Equal(t, "0", rowsOf(t, db, "watermill_commands"), "only one command was acked; if 9 are left, it was mended upstream")
}

func TestStockQueue_DeletesCommandsWhenClosedDuringBatch(t *testing.T) {
	t.Parallel()
	db := fresh(t)
	s := newSubscriber(t, db, stockQueue())
	messages, err := s.Subscribe(t.Context(), "commands")
	require.NoError(t, err)
	publish(t, publisher(t, db, wsql.PostgreSQLQueueSchema{}), "commands", names(50)...)
	for range 6 {
		receive(t, messages).Ack()
	}
	require.NoError(t, s.Close())
	require.Equal(t, "0", rowsOf(t, db, "watermill_commands"), "six commands were acked; if 44 are left, it was mended upstream")
}

// Replaced by: offsets are bigint.
func TestStockQueue_IsFullAfterTwoBillionCommands(t *testing.T) {
	t.Parallel()
	db := fresh(t)
	p := publisher(t, db, wsql.PostgreSQLQueueSchema{})
	publish(t, p, "commands", "a")
	exec(t, db, `SELECT setval('watermill_commands_offset_seq', $1)`, math.MaxInt32-1)
	publish(t, p, "commands", "the last")
	require.ErrorContains(t, p.Publish("commands", message.NewMessage("one more", []byte(`{}`))), "reached maximum value")
}

// Replaced by: each module has its log; topics are rows, and names are checked
// when the program starts.
func TestStockTopics_WithCommonPrefixShareTable(t *testing.T) {
	t.Parallel()
	db := fresh(t)
	alike := strings.Repeat("a", 53)
	messages, _ := subscribe(t, db, alike+"-payments", stockLog())
	publish(t, publisher(t, db, wsql.DefaultPostgreSQLSchema{}), alike+"-refunds", "a refund")
	msg := receive(t, messages)
	require.Equal(t, "a refund", msg.UUID, "delivered to the subscriber of payments")
	msg.Ack()
}

// Replaced by: BYTEA payloads, and ids that are uuids.
func TestStockSchema_RefusesMalformedMessage(t *testing.T) {
	t.Parallel()
	db := fresh(t)
	for _, schema := range []wsql.SchemaAdapter{wsql.DefaultPostgreSQLSchema{}, wsql.PostgreSQLQueueSchema{}} {
		topic := watermill.NewShortUUID()
		p := publisher(t, db, schema)
		publish(t, p, topic, "a")
		require.ErrorContains(t, p.Publish(topic, message.NewMessage("b", []byte(`not JSON`))), "invalid input syntax for type json")
		require.ErrorContains(t, p.Publish(topic, message.NewMessage(strings.Repeat("c", 37), []byte(`{}`))), "value too long")
	}
}
