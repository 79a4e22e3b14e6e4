package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"github.com/lib/pq"
)

// keepSQL inserts what arrived under the offsets with which it came. A row at or below the
// subscriber's offset was handled before: it is a repetition, as is one that is there already.
//
// A statement that moves checkpoints does not wait for the disk: what a crash of the server
// forgets of the rows the checkpoints forget too, and the bridge brings it again.
//
// A statement that commits by itself moves checkpoints only if all rows are new: what becomes
// of the others is decided in a transaction, with the checkpoints ($15).
const keepSQL = `
WITH pace AS MATERIALIZED (
	SELECT set_config('synchronous_commit', CASE WHEN cardinality($10::text[]) > 0 THEN 'off' ELSE current_setting('synchronous_commit') END, true)
), kept AS (
INSERT INTO inbound (topic, partition, "offset", id, type, key, payload, metadata)
SELECT m.topic, m.partition, m."offset", m.id, m.type, m.key, m.payload, m.metadata::json
FROM unnest($2::text[], $3::smallint[], $4::bigint[], $5::uuid[], $6::text[], $7::text[], $8::bytea[], $9::text[])
    AS m(topic, partition, "offset", id, type, key, payload, metadata)
LEFT JOIN offsets p ON p.subscriber = $1 AND p.topic = m.topic AND p.partition = m.partition
WHERE m."offset" > coalesce(p.committed_offset, 0)
ORDER BY m.topic, m.partition, m."offset"
ON CONFLICT DO NOTHING RETURNING 1
), marks AS (
	SELECT * FROM unnest($10::text[], $11::int[], $12::text[], $13::bigint[], $14::bigint[]) AS m(topic, partition, topic_id, was, becomes)
), moved AS (
	UPDATE checkpoints r SET "offset" = m.becomes FROM marks m
	WHERE r.topic = m.topic AND r.partition = m.partition AND r.topic_id = m.topic_id AND r."offset" >= m.was AND r."offset" < m.becomes
	AND ($15 OR (SELECT count(*) FROM kept) = cardinality($4::bigint[]))
)
SELECT (SELECT count(*) FROM kept),
EXISTS (SELECT 1 FROM marks m LEFT JOIN checkpoints r ON r.topic = m.topic AND r.partition = m.partition AND r.topic_id = m.topic_id
	WHERE r."offset" IS NULL OR r."offset" < m.was) FROM pace`

// Statements is a transaction, or a database where each statement is one.
type Statements interface {
	Querier
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Arrival has rows with sequence numbers that arrived through a bridge.
type Arrival struct {
	Columns
	streams []string
	offsets []int64
}

// Add adds a row of a stream.
func (a *Arrival) Add(stream string, row Row) error {
	a.streams, a.offsets = append(a.streams, stream), append(a.offsets, row.Sequence)
	return a.AddRow(row, row.Partition)
}

// Record returns the ith row as its readers read it. The payload is a copy: the bridge's may
// be a part of something larger.
func (a *Arrival) Record(i int, row Row) Record {
	return Record{
		Offset: row.Sequence, ID: row.ID, Type: row.Type, Key: row.Key,
		Metadata: []byte(a.Metadata[i]), Payload: slices.Clone(a.Payloads[i]),
	}.Fresh()
}

// Keep inserts the rows into a module's inbound table and moves the checkpoints: always, or
// else if all rows were new. It returns how many of the rows were new, and whether a
// checkpoint is before its From.
func (a *Arrival) Keep(ctx context.Context, db Statements, module string, checkpoints []Checkpoint, always bool) (kept int, behind bool, err error) {
	args := append([]any{module, pq.Array(a.streams), pq.Array(a.Partitions), pq.Array(a.offsets),
		pq.Array(a.IDs), pq.Array(a.Types), pq.Array(a.Keys), pq.ByteaArray(a.Payloads), pq.Array(a.Metadata)}, append(checkpointColumns(checkpoints), always)...)
	if err := db.QueryRowContext(ctx, keepSQL, args...).Scan(&kept, &behind); err != nil {
		return 0, false, fmt.Errorf("receive: %w", err)
	}
	return kept, behind, nil
}

// reusedSQL finds which rows that were not new are not repetitions either: another message
// has their number, or it was given up as lost. Only what is in the inbound table can be
// compared, and what an open dead letter names as lost.
const reusedSQL = `
SELECT m.n - 1, coalesce(i.id::text, '') FROM unnest($2::text[], $3::smallint[], $4::bigint[], $5::uuid[]) WITH ORDINALITY AS m(topic, partition, "offset", id, n)
LEFT JOIN inbound i ON i.topic = m.topic AND i.partition = m.partition AND i."offset" = m."offset"
WHERE i.id <> m.id AND i.type NOT LIKE $6 || '%' OR (i.id IS NULL OR i.type LIKE $6 || '%') AND EXISTS (
	SELECT FROM parked_messages a WHERE a.subscriber = $1 AND a.topic = m.topic AND a.partition = m.partition AND a.state <> 'discarded'
	AND CASE WHEN a.type = $6 THEN m."offset" BETWEEN (regexp_match(a.key, '([0-9]+)-[0-9]+$'))[1]::bigint AND (regexp_match(a.key, '([0-9]+)$'))[1]::bigint END
) AND NOT EXISTS (SELECT FROM inbox b WHERE b.subscriber = $1 AND b.message_id = m.id AND split_part(b.topic, '/', 1) = split_part(m.topic, '/', 1))
ORDER BY m.n`

// Reused calls found with each row whose sequence number another message has, with the ID of
// that one; or none, if the row arrived after its number counted as lost.
func (a *Arrival) Reused(ctx context.Context, db Querier, module string, found func(i int, stream, other string)) error {
	rows, err := db.QueryContext(ctx, reusedSQL, module, pq.Array(a.streams), pq.Array(a.Partitions), pq.Array(a.offsets), pq.Array(a.IDs), TypeLost)
	if err != nil {
		return fmt.Errorf("look for reused sequence numbers: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var n int
		var other string
		if err := rows.Scan(&n, &other); err != nil {
			return fmt.Errorf("look for reused sequence numbers: %w", err)
		}
		found(n, a.streams[n], other)
	}
	return rows.Err()
}

// HighestSequence returns the highest sequence number that a module has of a stream and
// partition, or 0.
func HighestSequence(ctx context.Context, db Statements, module, stream string, partition int) (n int64, err error) {
	err = db.QueryRowContext(ctx, `SELECT greatest(
		coalesce((SELECT committed_offset FROM offsets WHERE subscriber = $1 AND topic = $2 AND partition = $3), 0),
		coalesce((SELECT max("offset") FROM inbound WHERE topic = $2 AND partition = $3), 0))`, module, stream, partition).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("highest number of %s: %w", stream, err)
	}
	return n, nil
}

// Enqueue appends rows without a sequence number to the module's command queue.
func Enqueue(ctx context.Context, tx *sql.Tx, rows []Row) error {
	var c Columns
	for _, row := range rows {
		if err := c.AddRow(row, PartitionOf(row.Key)); err != nil {
			return err
		}
	}
	if _, err := tx.ExecContext(ctx, `SELECT append_queue($1, $2, $3, $4, $5, $6)`, c.Arrays()...); err != nil {
		return fmt.Errorf("receive: %w", err)
	}
	return nil
}

// Gap is a part of a stream that did not arrive.
type Gap struct {
	Place
	First, Last int64
	Passed      bool // so large that the committed offset was moved to its end
}

// mostFilled is the largest gap that is filled with a row for each number. A larger one gets
// one row, before what follows, and the node to which the partition is assigned moves the
// committed offset there.
const mostFilled = 1000

// gapsAtOnce is how many gaps of a subscriber are filled in one statement.
const gapsAtOnce = 10

// FillGaps puts rows in the place of messages that did not arrive, right behind the
// subscriber's offsets, if what follows has waited longer than lostAfter. Else its partitions
// would never go on. It returns the gaps, 10 at the most.
func FillGaps(ctx context.Context, o *Offsets, lostAfter time.Duration) (gaps []Gap, err error) {
	rows, err := o.DB.QueryContext(ctx, `
		WITH hole AS (
			SELECT p.topic AS topic, p.partition, p.committed_offset + 1 AS first, next."offset" - 1 AS last
			FROM offsets p CROSS JOIN LATERAL (
				SELECT i."offset", i.created_at FROM inbound i WHERE i.topic = p.topic AND i.partition = p.partition AND i."offset" > p.committed_offset
				ORDER BY i."offset" LIMIT 1) next
			WHERE p.subscriber = $1 AND next."offset" > p.committed_offset + 1 AND next.created_at < clock_timestamp() - $2 * interval '1 millisecond'
			LIMIT $7
		), passed AS (
			UPDATE offsets p SET committed_offset = h.last - 1 FROM hole h
			WHERE p.subscriber = $1 AND p.topic = h.topic AND p.partition = h.partition AND p.committed_offset = h.first - 1 AND p.node = $6 AND h.last - h.first >= $5
			RETURNING h.topic, h.partition, h.first, h.last, h.last AS begins
		), filled AS (
			INSERT INTO inbound (topic, partition, "offset", id, type, key, payload, metadata)
			SELECT topic, partition, n, gen_random_uuid(), CASE WHEN n = begins THEN $3 ELSE $4 END,
				format('lost %s/%s/%s-%s', topic, partition, first, last), '{}', '{}'
			FROM (SELECT *, first AS begins FROM hole WHERE last - first < $5 UNION ALL SELECT * FROM passed) h CROSS JOIN LATERAL generate_series(begins, last) AS n
			ON CONFLICT DO NOTHING
		)
		SELECT topic, partition, first, last FROM hole WHERE last - first < $5 UNION ALL SELECT topic, partition, first, last FROM passed`,
		o.Subscriber, lostAfter.Milliseconds(), TypeLost, TypeLostToo, mostFilled, o.Node, gapsAtOnce)
	if err != nil {
		return nil, fmt.Errorf("look for gaps: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var g Gap
		if err := rows.Scan(&g.Stream, &g.Partition, &g.First, &g.Last); err != nil {
			return gaps, fmt.Errorf("look for gaps: %w", err)
		}
		g.Passed = g.Last-g.First >= mostFilled
		gaps = append(gaps, g)
	}
	if err := rows.Err(); err != nil {
		return gaps, fmt.Errorf("look for gaps: %w", err)
	}
	return gaps, nil
}

// PruneInbound deletes what arrived and was handled longer ago than keep.
func PruneInbound(ctx context.Context, o *Offsets, keep time.Duration) error {
	if _, err := o.DB.ExecContext(ctx, `
		DELETE FROM inbound i USING offsets p
		WHERE p.subscriber = $1 AND p.topic = i.topic AND p.partition = i.partition AND i."offset" <= p.committed_offset
		AND i.created_at < clock_timestamp() - $2 * interval '1 millisecond'`, o.Subscriber, keep.Milliseconds()); err != nil {
		return fmt.Errorf("prune what arrived: %w", err)
	}
	return nil
}
