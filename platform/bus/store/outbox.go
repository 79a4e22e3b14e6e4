package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/lib/pq"

	"millrace/platform/bus"
	"millrace/platform/bus/envelope"
)

// RelayOf returns the name of a module's relay, in offsets and in leases.
func RelayOf(module string) string { return module + ".relay" }

// StreamOf returns the stream in which a module's messages of a topic travel through a bridge.
func StreamOf(topic, source string) string {
	if strings.HasSuffix(topic, ".events") {
		return topic
	}
	return topic + "/" + source
}

// AppendOutbox appends the commands among the messages to the outbox of the transaction's
// module, and returns the events. It comes before Append, so that all transactions take their
// publish locks in one order.
func AppendOutbox(ctx context.Context, tx *sql.Tx, topo *bus.Topology, messages []*message.Message) (events []*message.Message, err error) {
	var topics []string
	var c Columns
	for _, msg := range messages {
		topic := topo.TopicOf(msg.Metadata.Get(envelope.Type))
		if strings.HasSuffix(topic, ".events") {
			events = append(events, msg)
			continue
		}
		topics = append(topics, topic)
		if _, err := c.AddMessage(msg); err != nil {
			return nil, err
		}
	}
	if len(topics) == 0 {
		return events, nil
	}
	if _, err := tx.ExecContext(ctx, `SELECT append_outbox($1, $2, $3, $4, $5, $6, $7)`, append([]any{pq.Array(topics)}, c.Arrays()...)...); err != nil {
		return nil, fmt.Errorf("outbox: %w", err)
	}
	return events, nil
}

// PruneOutbox deletes what a relay sent longer ago than keep, but never the newest row of a
// topic's partition, or its numbers would start again.
func PruneOutbox(ctx context.Context, relay *Offsets, keep time.Duration) error {
	if _, err := relay.DB.ExecContext(ctx, `
		DELETE FROM outbox o USING offsets p
		WHERE p.subscriber = $1 AND p.topic = o.topic || '/' || current_schema() AND p.partition = o.partition AND o."offset" <= p.committed_offset
		AND o.created_at < clock_timestamp() - $2 * interval '1 millisecond'
		AND o."offset" < (SELECT max(n."offset") FROM outbox n WHERE n.topic = o.topic AND n.partition = o.partition)`,
		relay.Subscriber, keep.Milliseconds()); err != nil {
		return fmt.Errorf("prune the outbox: %w", err)
	}
	return nil
}
