package sqltransport

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"millrace/platform/bus/store"
)

// claimSQL moves the positions by compare-and-set, and writes the inbox rows of
// what is new, in one statement. Fewer positions than asked for say that
// somebody else decided.
//
// A message is new by its id and its topic (see identity), as the unique index of
// the inbox has it.
//
// What an operator discarded is not new, though no inbox row says so: it takes no
// effect, however often it arrives. (A subquery, so that each message costs one
// look into the index, whatever lies aside.)
//
// It also answers which of the types that this process does not know another
// version of the subscriber does: whatever was ever registered, and not forgotten
// since, whether such a version lives now or not, for a release that was taken
// back comes again. The statement sees every registration that was committed
// before any of the run's messages, so that none of them is skipped that the
// other version counts on.
//
// And it sets how long the handlers wait for a lock, see lockLimit.
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

// How long a handler waits for one lock, as lock_timeout.
const (
	// crowdLimit is for handlers that share a transaction: they take their locks in
	// whatever order they like, and the server looks for deadlocks only after a
	// second. It is also for most tries of a partition that is paused for a lock, so
	// that those tries do not occupy the module's executors.
	crowdLimit = "100ms"
	// aloneLimit is shorter than bus.HandlerTimeout, so that PostgreSQL itself
	// reports the lock, and longer than its deadlock_timeout (1 s), so that a
	// deadlock is reported as one.
	aloneLimit = "1500ms"
)

// longTry is how often a partition that is paused for a lock waits as long as any
// other: one that queues for a short time only may never be first in the queue.
const longTry = 8

// lockLimit is how long the run's handlers wait for a lock. While a partition of
// the subscriber is paused for one, the others are likely to meet the same lock.
func (r *batchRun) lockLimit() string {
	if r.crowded() {
		return crowdLimit
	}
	return r.s.lockLimit(r.parts[0].t)
}

func (s *subscriber) lockLimit(t *task) string {
	if s.pauses.locked() && t.lockTries%longTry != longTry-1 {
		return crowdLimit
	}
	return aloneLimit
}

// claimSingle is claimSQL for one message of a known type. It has no arrays: what
// is asked with them is planned anew each time, which takes three times as long
// as doing it, since a plan for arrays of any length looks worse to the server.
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

// The first ANYs of claimSome are for the index, which a join would not use.
var (
	claimOne = fmt.Sprintf(claimSQL, `UPDATE offsets SET committed_offset = $5
    WHERE subscriber = $1 AND topic = $2 AND partition = $3 AND committed_offset = $4 AND node = $6`)
	claimSome = fmt.Sprintf(claimSQL, `UPDATE offsets p SET committed_offset = w.becomes
    FROM unnest($2::text[], $3::smallint[], $4::bigint[], $5::bigint[]) AS w(topic, partition, was, becomes)
    WHERE p.subscriber = $1 AND p.topic = ANY($2) AND p.partition = ANY($3) AND p.node = $6
    AND p.partition = w.partition AND p.committed_offset = w.was AND p.topic = w.topic`)
)

// identity is what makes a message the same when it comes again. The id alone does
// not: each module's role gives the messages of its own topics whatever id it likes.
type identity struct {
	id    uuid.UUID
	topic string // not the stream: a command is the same message in any sender's stream
}

func (t *task) identity(row record) identity { return identity{row.id, store.TopicOf(t.topic)} }

// claim returns which rows this subscriber has not handled before.
func (r *batchRun) claim(ctx context.Context) (map[identity]bool, error) {
	if r.size == 1 && r.s.knows(r.parts[0].rows[0].typ) {
		return r.claimSingle(ctx, r.parts[0].t, r.parts[0].rows[0])
	}
	var ids, topics, unknown, mineTopics []string
	var partitions, offsets, minePartitions, was, becomes []int64
	for _, p := range r.parts {
		mineTopics, minePartitions = append(mineTopics, p.t.topic), append(minePartitions, int64(p.t.partition))
		was, becomes = append(was, p.t.position), append(becomes, p.last())
		for _, row := range p.rows {
			if !r.s.knows(row.typ) {
				unknown = append(unknown, row.typ)
				continue
			}
			ids, offsets = append(ids, row.id.String()), append(offsets, row.offset)
			topics, partitions = append(topics, p.t.topic), append(partitions, int64(p.t.partition))
		}
	}
	statement := claimOne
	positions := []any{mineTopics[0], minePartitions[0], was[0], becomes[0]}
	if len(r.parts) > 1 {
		statement = claimSome
		positions = []any{pq.Array(mineTopics), pq.Array(minePartitions), pq.Array(was), pq.Array(becomes)}
	}
	args := append(append([]any{r.s.module}, positions...), r.s.t.process, len(r.parts),
		pq.Array(ids), pq.Array(topics), pq.Array(partitions), pq.Array(offsets), pq.Array(unknown), r.lockLimit())
	var moved int
	var fresh []string
	var limit string
	if err := r.tx.QueryRowContext(ctx, statement, args...).Scan(&moved, pq.Array(&fresh), pq.Array(&r.newer), &limit); err != nil {
		return nil, fmt.Errorf("claim: %w", err)
	}
	if moved < len(r.parts) {
		return nil, errMoved
	}
	set := make(map[identity]bool, len(fresh))
	for _, text := range fresh {
		n := min(idLength, len(text))
		id, err := uuid.Parse(text[:n])
		if err != nil {
			return nil, fmt.Errorf("claim: %w", err)
		}
		set[identity{id, text[n:]}] = true
	}
	return set, nil
}

// idLength is how long an id is as text.
const idLength = 36

func (r *batchRun) claimSingle(ctx context.Context, t *task, row record) (map[identity]bool, error) {
	var moved, fresh bool
	var limit string
	err := r.tx.QueryRowContext(ctx, claimSingle, r.s.module, t.topic, int64(t.partition), t.position, row.offset, r.s.t.process, row.id.String(), r.lockLimit()).
		Scan(&moved, &fresh, &limit)
	switch {
	case err != nil:
		return nil, fmt.Errorf("claim: %w", err)
	case !moved:
		return nil, errMoved
	}
	return map[identity]bool{t.identity(row): fresh}, nil
}
