package store

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/google/uuid"
	"github.com/lib/pq"
)

// claimSQL moves the offsets by compare-and-set, and writes the inbox rows of new messages,
// in one statement. Fewer offsets than asked for mean that another node moved them.
//
// A message is new by its ID and its topic (see Identity), as the inbox's unique index has
// it. What an operator discarded is not new, though it has no inbox row: it takes no effect,
// however often it arrives. (A subquery, so that each message costs one look into the index,
// whatever is parked.)
//
// It also returns which of the types that this process does not know another version of the
// subscriber does: all that were ever registered and not forgotten since, whether such a
// version is alive now or not, for a release that was rolled back comes again. The statement
// sees every registration that was committed before any of the batch's messages, so that no
// message is skipped on which the other version counts.
//
// And it sets how long the handlers wait for a lock.
const claimSQL = `
WITH moved AS (
    %s RETURNING 1
), fresh AS (
    INSERT INTO inbox (message_id, subscriber, topic, partition, "offset")
    SELECT m.id, $1, m.topic, m.partition, m."offset" FROM unnest($8::uuid[], $9::text[], $10::smallint[], $11::bigint[]) AS m(id, topic, partition, "offset")
    WHERE (SELECT count(*) FROM moved) = $7
    AND (SELECT a.state FROM parked_messages a WHERE a.subscriber = $1 AND a.message_id = m.id AND split_part(a.topic, '/', 1) = split_part(m.topic, '/', 1)) IS DISTINCT FROM 'discarded'
    ON CONFLICT DO NOTHING
    RETURNING message_id, topic
)
SELECT (SELECT count(*) FROM moved),
    coalesce((SELECT array_agg(message_id || split_part(topic, '/', 1)) FROM fresh), '{}'),
    coalesce((SELECT array_agg(r.type) FROM bus.registrations r WHERE r.subscriber = $1 AND r.type = ANY($12)), '{}'),
    set_config('lock_timeout', $13, true)`

// The first ANYs of claimSome are for the index, which a join would not use.
var (
	claimOne = fmt.Sprintf(claimSQL, `UPDATE offsets SET committed_offset = $5
    WHERE subscriber = $1 AND topic = $2 AND partition = $3 AND committed_offset = $4 AND node = $6`)
	claimSome = fmt.Sprintf(claimSQL, `UPDATE offsets p SET committed_offset = w.becomes
    FROM unnest($2::text[], $3::smallint[], $4::bigint[], $5::bigint[]) AS w(topic, partition, was, becomes)
    WHERE p.subscriber = $1 AND p.topic = ANY($2) AND p.partition = ANY($3) AND p.node = $6
    AND p.partition = w.partition AND p.committed_offset = w.was AND p.topic = w.topic`)
)

// Claim is the first statement of a batch's transaction: it moves the offsets behind the
// batch's messages, and finds out which of them are new.
type Claim struct {
	Moves
	ids, streams, unknown []string
	partitions, offsets   []int64
}

// Message adds a message that is handled if it is new.
func (c *Claim) Message(stream string, partition int, r Record) {
	c.ids, c.offsets = append(c.ids, r.ID.String()), append(c.offsets, r.Offset)
	c.streams, c.partitions = append(c.streams, stream), append(c.partitions, int64(partition))
}

// Unknown adds a message of a type that this process does not know.
func (c *Claim) Unknown(messageType string) { c.unknown = append(c.unknown, messageType) }

// Run executes the claim. Without at least one move it must not be called. It returns the
// messages that are new, and the unknown types to which another version of the subscriber
// has subscribed; or ErrMoved.
func (c *Claim) Run(ctx context.Context, tx *sql.Tx, o *Offsets, lockTimeout string) (fresh map[Identity]bool, newer []string, err error) {
	statement := claimOne
	offsets := []any{c.Moves.streams[0], c.Moves.partitions[0], c.from[0], c.to[0]}
	if c.Len() > 1 {
		statement = claimSome
		offsets = []any{pq.Array(c.Moves.streams), pq.Array(c.Moves.partitions), pq.Array(c.from), pq.Array(c.to)}
	}
	args := append(append([]any{o.Subscriber}, offsets...), o.Node, c.Len(),
		pq.Array(c.ids), pq.Array(c.streams), pq.Array(c.partitions), pq.Array(c.offsets), pq.Array(c.unknown), lockTimeout)
	var moved int
	var texts []string
	var limit string
	if err := tx.QueryRowContext(ctx, statement, args...).Scan(&moved, pq.Array(&texts), pq.Array(&newer), &limit); err != nil {
		return nil, nil, fmt.Errorf("claim: %w", err)
	}
	if moved < c.Len() {
		return nil, nil, ErrMoved
	}
	fresh = make(map[Identity]bool, len(texts))
	for _, text := range texts {
		n := min(idLength, len(text))
		id, err := uuid.Parse(text[:n])
		if err != nil {
			return nil, nil, fmt.Errorf("claim: %w", err)
		}
		fresh[Identity{id, text[n:]}] = true
	}
	return fresh, newer, nil
}

// idLength is how long an ID is as text.
const idLength = 36

// claimSingle is claimSQL for one message of a known type. It has no arrays: a statement with
// arrays is planned again each time, which takes three times as long as executing it, since a
// plan for arrays of any length looks worse to the server.
const claimSingle = `
WITH moved AS (
    UPDATE offsets SET committed_offset = $5
    WHERE subscriber = $1 AND topic = $2 AND partition = $3 AND committed_offset = $4 AND node = $6 RETURNING 1
), fresh AS (
    INSERT INTO inbox (message_id, subscriber, topic, partition, "offset")
    SELECT $7, $1, $2, $3, $5 FROM moved
    WHERE (SELECT a.state FROM parked_messages a WHERE a.subscriber = $1 AND a.message_id = $7 AND split_part(a.topic, '/', 1) = split_part($2, '/', 1)) IS DISTINCT FROM 'discarded'
    ON CONFLICT DO NOTHING
    RETURNING 1
)
SELECT EXISTS (SELECT FROM moved), EXISTS (SELECT FROM fresh), set_config('lock_timeout', $8, true)`

// ClaimSingle is Claim for one message of a known type, behind the offset from.
func ClaimSingle(ctx context.Context, tx *sql.Tx, o *Offsets, stream string, partition int, from int64, r Record, lockTimeout string) (fresh bool, err error) {
	var moved bool
	var limit string
	err = tx.QueryRowContext(ctx, claimSingle, o.Subscriber, stream, int64(partition), from, r.Offset, o.Node, r.ID.String(), lockTimeout).
		Scan(&moved, &fresh, &limit)
	switch {
	case err != nil:
		return false, fmt.Errorf("claim: %w", err)
	case !moved:
		return false, ErrMoved
	}
	return fresh, nil
}

// RemoveInbox removes the inbox rows of messages, so that they are new when they are handled
// later: they were parked in the same transaction.
func RemoveInbox(ctx context.Context, tx *sql.Tx, subscriber string, messages []Identity) error {
	ids, topics := make([]string, len(messages)), make([]string, len(messages))
	for i, m := range messages {
		ids[i], topics[i] = m.ID.String(), m.Topic
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM inbox i WHERE subscriber = $1 AND message_id = ANY($2::uuid[])
			AND EXISTS (SELECT FROM unnest($2::uuid[], $3::text[]) AS m(id, topic) WHERE m.id = i.message_id AND m.topic = split_part(i.topic, '/', 1))`,
		subscriber, pq.Array(ids), pq.Array(topics)); err != nil {
		return fmt.Errorf("inbox rows of parked messages: %w", err)
	}
	return nil
}

// DefaultLockTimeout undoes the limit that a claim has set, for the rest of the transaction.
func DefaultLockTimeout(ctx context.Context, tx *sql.Tx) error {
	if _, err := tx.ExecContext(ctx, `SET LOCAL lock_timeout TO DEFAULT`); err != nil {
		return fmt.Errorf("lock timeout: %w", err)
	}
	return nil
}
