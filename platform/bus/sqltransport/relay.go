package sqltransport

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/lib/pq"

	"millrace/platform/bus/envelope"
	"millrace/platform/bus/store"
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
	var b store.Columns
	for _, msg := range messages {
		topic := t.topo.TopicOf(msg.Metadata.Get(envelope.Type))
		if strings.HasSuffix(topic, ".events") {
			events = append(events, msg)
			continue
		}
		topics = append(topics, topic)
		if _, err := b.AddMessage(msg); err != nil {
			return nil, err
		}
	}
	if len(topics) == 0 {
		return events, nil
	}
	_, err := tx.ExecContext(ctx, `SELECT append_outbox($1, $2, $3, $4, $5, $6, $7)`, append([]any{pq.Array(topics)}, b.Arrays()...)...)
	if err != nil {
		return nil, fmt.Errorf("outbox: %w", err)
	}
	return events, nil
}

func (s *subscriber) relay() bool { return strings.HasSuffix(s.module, relaySuffix) }

// forward hands records to the carrier, and those of other partitions that are
// ready with them, since most of the time goes into waiting for the brokers and
// for the database, and a step that moves one row takes as long as one that
// moves many. A partition that the carrier is slow with holds up none of the others:
// a substitute works in the place of whoever waits for it.
func (s *subscriber) forward(ctx context.Context, first *part) {
	parts := []*part{first}
	for room := forwardRows - len(first.rows); room > 0; {
		other := s.queue.another(1)
		if other == nil {
			break
		}
		rows, err := s.read(ctx, other, room)
		switch {
		case err != nil:
			s.fail(other, err)
		case len(rows) == 0:
			s.queue.done(other, false)
		default:
			parts = append(parts, &part{t: other, rows: rows})
			room -= len(rows)
		}
	}
	failpoint.Here("relay.read")
	answers := make(chan handedOver, len(parts))
	for _, p := range parts {
		hand := func() {
			confirmed, err := s.t.cfg.Carrier.Forward(ctx, s.outgoing(p))
			answers <- handedOver{p, confirmed, err}
		}
		go hand()
	}
	slow := time.NewTimer(patience)
	defer slow.Stop()
	for left := len(parts); left > 0; {
		var all []handedOver
		select {
		case first := <-answers:
			all = append(all, first)
		case <-slow.C:
			defer s.substitute()()
			continue
		}
		for more := true; more; {
			select {
			case next := <-answers:
				all = append(all, next)
			default:
				more = false
			}
		}
		left -= len(all)
		failpoint.Here("relay.confirmed")
		for p, err := range s.move(ctx, all) {
			s.settle(p.t, err)
		}
	}
}

// handedOver is what the carrier said of a part.
type handedOver struct {
	*part
	confirmed int
	failed    error
}

// outgoing are a part's rows as the carrier wants them.
func (s *subscriber) outgoing(p *part) []store.Row {
	topic, source, sent := strings.Cut(p.t.topic, "/")
	if !sent {
		source = s.schema
	}
	rows := make([]store.Row, len(p.rows))
	for i, r := range p.rows {
		rows[i] = store.Row{Topic: topic, Source: source, Partition: p.t.partition, Sequence: r.offset, ID: r.id, Type: r.typ, Key: r.key, Payload: r.payload, Metadata: store.DecodeMetadata(r.metadata)}
	}
	return rows
}

// moveSQL moves a relay's positions. It does not wait for the disk: a position
// that the server forgets in a crash makes rows go out again, which the
// receivers drop, and the compare-and-set of whoever believed it fails.
const moveSQL = `
WITH quiet AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
UPDATE offsets p SET committed_offset = w.becomes
FROM quiet, unnest($2::text[], $3::smallint[], $4::bigint[], $5::bigint[]) AS w(topic, partition, was, becomes)
WHERE p.subscriber = $1 AND p.topic = ANY($2) AND p.partition = ANY($3) AND p.node = $6
AND p.partition = w.partition AND p.committed_offset = w.was AND p.topic = w.topic
RETURNING p.topic, p.partition`

// move moves the positions behind what was confirmed. What a crash before it
// repeats, the receivers drop. What the carrier refused stays first in its
// partition. It tells what is to be said of each part.
func (s *subscriber) move(ctx context.Context, all []handedOver) map[*part]error {
	told := make(map[*part]error, len(all))
	var topics []string
	var partitions, was, becomes []int64
	for _, h := range all {
		told[h.part] = nil
		if h.confirmed > 0 {
			told[h.part] = errMoved // until its row comes back
			topics, partitions = append(topics, h.t.topic), append(partitions, int64(h.t.partition))
			was, becomes = append(was, h.t.position), append(becomes, h.rows[h.confirmed-1].offset)
		}
	}
	if len(topics) > 0 {
		moved, err := s.moved(ctx, topics, partitions, was, becomes)
		for _, h := range all {
			switch {
			case h.confirmed == 0:
			case err != nil:
				told[h.part] = fmt.Errorf("move the position: %w", err)
			case moved[place{h.t.topic, h.t.partition}]:
				told[h.part] = nil
				h.t.position = h.rows[h.confirmed-1].offset
			}
		}
		failpoint.Here("relay.moved")
	}
	for _, h := range all {
		if h.failed != nil && told[h.part] == nil {
			told[h.part] = errs.As(errs.Resource, fmt.Errorf("%s partition %d, row %d was not forwarded: %w", h.t.topic, h.t.partition, h.t.position+1, h.failed))
		}
	}
	return told
}

type place struct {
	topic     string
	partition int
}

func (s *subscriber) moved(ctx context.Context, topics []string, partitions, was, becomes []int64) (map[place]bool, error) {
	rows, err := s.db.QueryContext(ctx, moveSQL, s.module, pq.Array(topics), pq.Array(partitions), pq.Array(was), pq.Array(becomes), s.t.process)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	found := make(map[place]bool, len(topics))
	for rows.Next() {
		var p place
		if err := rows.Scan(&p.topic, &p.partition); err != nil {
			return nil, err
		}
		found[p] = true
	}
	return found, rows.Err()
}
