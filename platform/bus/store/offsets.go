package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/lib/pq"
)

// ErrMoved is the error of a node that is wrong about an offset, or about the assignment of
// the partition: another node has moved it. Nothing was changed.
var ErrMoved = errors.New("the offset was moved by another node")

// Offsets are the committed offsets of a subscriber or a relay, as one node uses them. DB
// has the search path of the module's schema.
type Offsets struct {
	DB         *sql.DB
	Subscriber string
	Node       uuid.UUID
}

// Create creates the offsets of a stream, if it is new: it is read from the first message.
func (o *Offsets) Create(ctx context.Context, stream string) error {
	_, err := o.DB.ExecContext(ctx, `
		INSERT INTO offsets (subscriber, topic, partition)
		SELECT $1, $2, n FROM generate_series(0, $3::int) AS n
		WHERE NOT EXISTS (SELECT 1 FROM offsets o WHERE o.subscriber = $1 AND o.topic = $2 AND o.partition = n)
		ON CONFLICT DO NOTHING`, // alone it would wait for a transaction that moves an offset
		o.Subscriber, stream, Partitions-1)
	if err != nil {
		return fmt.Errorf("create offsets of %s in %s: %w", o.Subscriber, stream, err)
	}
	return nil
}

// Committed is what the database knows of a partition.
type Committed struct {
	Offset     int64
	Assigned   bool     // to this node
	ParkedKeys []string // keys with parked messages that are not discarded
	TopicID    string   // the bridge's ID of the topic, "" without a bridge
}

// Load reads the committed offset of a partition.
func (o *Offsets) Load(ctx context.Context, stream string, partition int) (c Committed, err error) {
	var node uuid.NullUUID
	err = o.DB.QueryRowContext(ctx, `
		SELECT committed_offset, node, coalesce((
			SELECT array_agg(DISTINCT a.key) FROM parked_messages a
			WHERE a.subscriber = p.subscriber AND a.topic = p.topic AND a.partition = p.partition AND a.state <> 'discarded'), '{}'),
			coalesce((SELECT t.topic_id FROM bus.topics t WHERE t.name = split_part(p.topic, '/', 1)), '')
		FROM offsets p WHERE subscriber = $1 AND topic = $2 AND partition = $3`,
		o.Subscriber, stream, partition).Scan(&c.Offset, &node, pq.Array(&c.ParkedKeys), &c.TopicID)
	if err != nil {
		return c, fmt.Errorf("load offset: %w", err)
	}
	c.Assigned = node.UUID == o.Node
	return c, nil
}

// Release gives a partition up, so that another node can claim it.
func (o *Offsets) Release(ctx context.Context, stream string, partition int) error {
	_, err := o.DB.ExecContext(ctx, `UPDATE offsets SET node = NULL WHERE subscriber = $1 AND topic = $2 AND partition = $3 AND node = $4`,
		o.Subscriber, stream, partition, o.Node)
	if err != nil {
		return fmt.Errorf("release partition: %w", err)
	}
	return nil
}

// Place is a partition of a stream.
type Place struct {
	Stream    string
	Partition int
}

// Moves are offsets to be moved together.
type Moves struct {
	streams              []string
	partitions, from, to []int64
	topicIDs             []string // of AddSent
}

// Add adds a partition, and from where to where its offset moves.
func (m *Moves) Add(stream string, partition int, from, to int64) {
	m.streams, m.partitions = append(m.streams, stream), append(m.partitions, int64(partition))
	m.from, m.to = append(m.from, from), append(m.to, to)
}

// AddSent is Add for rows that were sent to a bridge's topic, whose ID was topicID when the
// offset was loaded. If another topic has its name now, they may be lost with the first one,
// and the offset was set back (SetTopicID): then Move does not move it. The node alone does not
// show that, since the same one may have claimed the partition again.
func (m *Moves) AddSent(topicID, stream string, partition int, from, to int64) {
	m.Add(stream, partition, from, to)
	m.topicIDs = append(m.topicIDs, topicID)
}

// Len returns how many there are.
func (m *Moves) Len() int { return len(m.streams) }

// Move moves offsets of AddSent by compare-and-set, and returns which of them it moved. It does not
// wait for the disk: if the server forgets an offset in a crash, the rows are sent again,
// which their receivers drop, and the compare-and-set of a node that remembers it fails.
func (o *Offsets) Move(ctx context.Context, m *Moves) (moved map[Place]bool, err error) {
	rows, err := o.DB.QueryContext(ctx, `
WITH quiet AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
UPDATE offsets p SET committed_offset = w.becomes
FROM quiet, unnest($2::text[], $3::smallint[], $4::bigint[], $5::bigint[], $7::text[]) AS w(topic, partition, was, becomes, topic_id)
WHERE p.subscriber = $1 AND p.topic = ANY($2) AND p.partition = ANY($3) AND p.node = $6
AND p.partition = w.partition AND p.committed_offset = w.was AND p.topic = w.topic
AND w.topic_id = coalesce((SELECT t.topic_id FROM bus.topics t WHERE t.name = split_part(w.topic, '/', 1)), '')
RETURNING p.topic, p.partition`, o.Subscriber, pq.Array(m.streams), pq.Array(m.partitions), pq.Array(m.from), pq.Array(m.to), o.Node, pq.Array(m.topicIDs))
	if err != nil {
		return nil, fmt.Errorf("move offsets: %w", err)
	}
	defer rows.Close()
	moved = make(map[Place]bool, m.Len())
	for rows.Next() {
		var p Place
		if err := rows.Scan(&p.Stream, &p.Partition); err != nil {
			return nil, fmt.Errorf("move offsets: %w", err)
		}
		moved[p] = true
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("move offsets: %w", err)
	}
	return moved, nil
}
