package sqltransport

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/lib/pq"

	"millrace/platform/errs"
	"millrace/platform/failpoint"
)

// forwardRows is how many rows of a partition a relay hands over at once.
const forwardRows = 500

const relaySuffix = ".relay"

// newRelay makes the subscriber that hands what a module says to the carrier.
// It has positions and a share of the partitions like any other, and no
// handlers: the router does not know it.
func newRelay(t *Transport, module string, db *sql.DB) *subscriber {
	s := emptySubscriber(t, module, module+relaySuffix, db)
	for _, stream := range t.said(module) {
		s.addTasks(stream)
	}
	return s
}

// appendOutbox writes the commands among messages, if there is a carrier, and
// returns the others. It is called before those are written, so that all
// transactions take their publish locks in one order.
func (t *Transport) appendOutbox(ctx context.Context, tx *sql.Tx, messages []*message.Message) ([]*message.Message, error) {
	if t.cfg.Carrier == nil {
		return messages, nil
	}
	var events []*message.Message
	var topics []string
	var b columns
	for _, msg := range messages {
		topic := t.topo.TopicOf(msg.Metadata.Get(metaType))
		if strings.HasSuffix(topic, ".events") {
			events = append(events, msg)
			continue
		}
		id, err := uuid.Parse(msg.UUID)
		if err != nil {
			return nil, errs.New(errs.Invalid, "message id %q is no UUID", msg.UUID)
		}
		key := msg.Metadata.Get(metaKey)
		topics = append(topics, topic)
		if err := b.add(Row{ID: id, Type: msg.Metadata.Get(metaType), Key: key, Payload: msg.Payload, Metadata: msg.Metadata}, PartitionOf(key)); err != nil {
			return nil, err
		}
	}
	if len(topics) == 0 {
		return events, nil
	}
	_, err := tx.ExecContext(ctx, `SELECT append_outbox($1, $2, $3, $4, $5, $6, $7)`, pq.Array(topics), pq.Array(b.partitions),
		pq.Array(b.ids), pq.Array(b.types), pq.Array(b.keys), pq.ByteaArray(b.payloads), pq.Array(b.metadata))
	if err != nil {
		return nil, fmt.Errorf("outbox: %w", err)
	}
	return events, nil
}

func (s *subscriber) relay() bool { return strings.HasSuffix(s.module, relaySuffix) }

// forward hands records to the carrier, and then moves the position. What a
// crash in between repeats, the receivers drop. What the carrier refuses stays
// first in its partition.
func (s *subscriber) forward(ctx context.Context, t *task, records []record) error {
	topic, source, sent := strings.Cut(t.topic, "/")
	if !sent {
		source = s.schema
	}
	rows := make([]Row, len(records))
	for i, r := range records {
		rows[i] = Row{Topic: topic, Source: source, Partition: t.partition, Sequence: r.offset, ID: r.id, Type: r.typ, Key: r.key, Payload: r.payload}
		if err := json.Unmarshal(r.metadata, &rows[i].Metadata); err != nil {
			rows[i].Metadata = nil // unreadable: what the columns say is left
		}
	}
	failpoint.Here("relay.read")
	confirmed, failed := s.t.cfg.Carrier.Forward(ctx, rows)
	failpoint.Here("relay.confirmed")
	if confirmed > 0 {
		to := records[confirmed-1].offset
		done, err := s.db.ExecContext(ctx, `UPDATE positions SET position = $5 WHERE subscriber = $1 AND topic = $2 AND partition = $3 AND position = $4 AND owner = $6`,
			s.module, t.topic, t.partition, t.position, to, s.t.process)
		if err != nil {
			return fmt.Errorf("move the position: %w", err)
		}
		if n, err := done.RowsAffected(); err != nil || n == 0 {
			return errMoved
		}
		t.position = to
		failpoint.Here("relay.moved")
	}
	if failed != nil {
		return errs.As(errs.Resource, fmt.Errorf("%s partition %d, row %d was not forwarded: %w", t.topic, t.partition, t.position+1, failed))
	}
	return nil
}
