package sqltransport

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/lib/pq"
)

// begin gives the subscriber its positions in a topic, if this is the first time
// that it hears of it. All partitions begin at the same moment: a transaction
// that says several things is heard whole, or not at all.
func (s *subscriber) begin(ctx context.Context, topic string) error {
	at := make(pq.Int64Array, Partitions)
	switch start := s.startOf(topic); {
	case start.IsZero():
	case s.t.cfg.Carrier != nil:
		for p := range at {
			at[p] = undecided(start)
		}
	default:
		var err error
		if at, err = s.t.before(ctx, topic, start); err != nil {
			return err
		}
	}
	_, err := s.db.ExecContext(ctx, `
		INSERT INTO positions (subscriber, topic, partition, position)
		SELECT $1, $2, n - 1, position FROM unnest($3::bigint[]) WITH ORDINALITY AS at(position, n)
		WHERE NOT EXISTS (SELECT 1 FROM positions there WHERE there.subscriber = $1 AND there.topic = $2 AND there.partition = n - 1)
		ON CONFLICT DO NOTHING`, // which alone would wait for whoever is moving a position
		s.module, topic, at)
	return err
}

// undecided is the position of a subscriber that begins at a time and, since a
// carrier brings it the messages, cannot know yet at which number: the time in
// microseconds, negative. The first message that was said then, or later,
// decides (Receive).
func undecided(start time.Time) int64 {
	if now := time.Now(); start.After(now) { // as bus.Now
		start = now
	}
	return -start.UnixMicro()
}

// decide gives the subscriber its place in partitions where it was undecided.
func (t *Transport) decide(ctx context.Context, tx *sql.Tx, module string, rows []Row) error {
	streams := make([]string, len(rows))
	partitions, offsets, said := make([]int64, len(rows)), make([]int64, len(rows)), make([]int64, len(rows))
	for i, row := range rows {
		streams[i] = t.streamOf(row.Topic, row.Source)
		partitions[i], offsets[i] = int64(row.Partition), row.Sequence
		if at, err := time.Parse(time.RFC3339Nano, row.Metadata["ce_time"]); err == nil {
			said[i] = at.UnixMicro()
		}
	}
	_, err := tx.ExecContext(ctx, `
		UPDATE positions p SET position = first."offset" - 1 FROM (
			SELECT m.stream, m.partition, min(m."offset") AS "offset"
			FROM unnest($2::text[], $3::smallint[], $4::bigint[], $5::bigint[]) AS m(stream, partition, "offset", said)
			JOIN positions u ON u.subscriber = $1 AND u.topic = m.stream AND u.partition = m.partition
			WHERE u.position < 0 AND m.said >= -u.position GROUP BY m.stream, m.partition) first
		WHERE p.subscriber = $1 AND p.topic = first.stream AND p.partition = first.partition AND p.position < 0`,
		module, pq.Array(streams), pq.Array(partitions), pq.Array(offsets), pq.Array(said))
	if err != nil {
		return fmt.Errorf("where to begin: %w", err)
	}
	return nil
}

// startOf is where the module wants to begin with a topic; the topology has
// checked that all its subscriptions to it agree.
func (s *subscriber) startOf(topic string) time.Time {
	for _, sub := range s.t.topo.SubscriptionsOf(s.module) {
		if s.t.topo.TopicOf(sub.Type) == topic {
			return sub.Start
		}
	}
	return time.Time{}
}

// before returns each partition's offset before the first message that was said
// at a time or later; its newest one if there is none, as for a time to come.
func (t *Transport) before(ctx context.Context, topic string, start time.Time) (at pq.Int64Array, err error) {
	err = t.db.QueryRowContext(ctx, fmt.Sprintf(`
		SELECT array_agg(coalesce(
			CASE WHEN $2 <= clock_timestamp() THEN (SELECT min("offset") - 1 FROM %[1]s WHERE partition = p::smallint AND created_at >= $2) END,
			(SELECT max("offset") FROM %[1]s WHERE partition = p::smallint), 0) ORDER BY p)
		FROM generate_series(0, $1::int) AS p`, table(topic)), Partitions-1, start).Scan(&at)
	if err != nil {
		return nil, fmt.Errorf("where %s was at %s: %w", topic, start, err)
	}
	return at, nil
}
