package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// The states of a parked message. Only the node to which the partition is assigned parks,
// moves and releases; an operator changes dead to retry_scheduled by compare-and-set.
const (
	StateRetryScheduled  = "retry_scheduled"  // failed; tried again at next_attempt_at
	StateBlocked         = "blocked"          // behind an earlier message of its key
	StateAwaitingVersion = "awaiting_version" // only another version of the module handles its type
	StateDead            = "dead"             // failed for good; an operator must act
)

// Parking is how a message is parked.
type Parking struct {
	State    string
	Attempts int
	Wait     time.Duration // until the next attempt, in StateRetryScheduled
	Kind     string        // of the error
	Error    string        // without secrets and personal data
}

// nextAttemptAt is the SQL of next_attempt_at, with the state and the wait in milliseconds
// as parameters.
const nextAttemptAt = `CASE WHEN $%d = 'retry_scheduled' THEN clock_timestamp() + $%d * interval '1 millisecond' END`

var parkSQL = `
		INSERT INTO parked_messages (subscriber, topic, partition, "offset", message_id, type, key, payload, metadata, state, attempts, next_attempt_at, kind, error, failed_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::json, $10, $11, ` + fmt.Sprintf(nextAttemptAt, 10, 12) + `, $13, $14, CASE WHEN $11 > 0 THEN clock_timestamp() END)
		ON CONFLICT (subscriber, message_id, split_part(topic, '/', 1)) DO NOTHING` // a repetition of one that is parked already

// Park parks a message, in the transaction that moves the offset.
func Park(ctx context.Context, tx *sql.Tx, subscriber, stream string, partition int, r Record, p Parking) error {
	_, err := tx.ExecContext(ctx, parkSQL, subscriber, stream, partition, r.Offset, r.ID, r.Type, r.Key, r.Payload, string(r.Metadata),
		p.State, p.Attempts, p.Wait.Milliseconds(), p.Kind, p.Error)
	if err != nil {
		return fmt.Errorf("park message %s: %w", r.ID, err)
	}
	return nil
}

var parkAgainSQL = `
		UPDATE parked_messages SET state = $2, next_attempt_at = ` + fmt.Sprintf(nextAttemptAt, 2, 3) + `, kind = $4, error = $5, failed_at = clock_timestamp() WHERE id = $1`

// ParkAgain records another failed attempt of a parked message.
func ParkAgain(ctx context.Context, tx *sql.Tx, m Parked, p Parking) error {
	if _, err := tx.ExecContext(ctx, parkAgainSQL, m.Row, p.State, p.Wait.Milliseconds(), p.Kind, p.Error); err != nil {
		return fmt.Errorf("park message %s again: %w", m.ID, err)
	}
	return nil
}

// Parked is a parked message.
type Parked struct {
	Record
	Row      int64 // its row's ID
	State    string
	Attempts int
	Due      bool // it may be handled now
}

// FirstParked returns the first parked message of each key that is not discarded, and how
// long it takes until the next of those that are not due yet; 0 if there is none.
func FirstParked(ctx context.Context, o *Offsets, stream string, partition int) (_ []Parked, wait time.Duration, err error) {
	rows, err := o.DB.QueryContext(ctx, `
		SELECT DISTINCT ON (key) id, "offset", message_id, type, key, payload, metadata, state, attempts,
			coalesce(extract(epoch FROM next_attempt_at - clock_timestamp()), 0)::float8
		FROM parked_messages WHERE subscriber = $1 AND topic = $2 AND partition = $3 AND state <> 'discarded'
		ORDER BY key, "offset"`, o.Subscriber, stream, partition)
	if err != nil {
		return nil, 0, fmt.Errorf("read parked messages: %w", err)
	}
	defer rows.Close()
	var all []Parked
	for rows.Next() {
		var m Parked
		var seconds float64
		if err := rows.Scan(&m.Row, &m.Offset, &m.ID, &m.Type, &m.Key, &m.Payload, &m.Metadata, &m.State, &m.Attempts, &seconds); err != nil {
			return nil, 0, fmt.Errorf("read parked messages: %w", err)
		}
		m.decoded = &decodedMetadata{}
		m.Due = m.State != StateDead && (m.State != StateRetryScheduled || seconds <= 0)
		if m.State == StateRetryScheduled && seconds > 0 {
			in := time.Duration(seconds*float64(time.Second)) + time.Millisecond
			if wait == 0 || in < wait {
				wait = in
			}
		}
		all = append(all, m)
	}
	return all, wait, rows.Err()
}

// DueParked lists the partitions with parked messages that may be handled now: retries that
// are due, and messages that nothing blocks any more.
func DueParked(ctx context.Context, o *Offsets) (due []Place, err error) {
	rows, err := o.DB.QueryContext(ctx, `
		SELECT DISTINCT topic, partition FROM (
			SELECT DISTINCT ON (topic, partition, key) topic, partition, state, next_attempt_at FROM parked_messages
			WHERE subscriber = $1 AND state <> 'discarded' ORDER BY topic, partition, key, "offset") AS head
		WHERE state IN ('blocked', 'awaiting_version') OR state = 'retry_scheduled' AND next_attempt_at <= clock_timestamp()`, o.Subscriber)
	if err != nil {
		return nil, fmt.Errorf("look for parked messages that are due: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var p Place
		if err := rows.Scan(&p.Stream, &p.Partition); err != nil {
			return nil, fmt.Errorf("look for parked messages that are due: %w", err)
		}
		due = append(due, p)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("look for parked messages that are due: %w", err)
	}
	return due, nil
}

// takeParkedSQL fences the partition, takes the parked message by compare-and-set of its
// state, writes the inbox row, and sets how long the handler waits for a lock.
const takeParkedSQL = `
WITH fenced AS (
    SELECT 1 FROM offsets WHERE subscriber = $1 AND topic = $2 AND partition = $3 AND committed_offset = $4 AND node = $5 FOR UPDATE
), taken AS (
    UPDATE parked_messages SET attempts = attempts + 1 WHERE id = $6 AND state = $7 AND EXISTS (SELECT 1 FROM fenced) RETURNING message_id
), fresh AS (
    INSERT INTO inbox (message_id, subscriber, topic, partition, "offset") SELECT message_id, $1, $2, $3, $8 FROM taken
    ON CONFLICT DO NOTHING RETURNING 1
)
SELECT (SELECT count(*) FROM fenced), (SELECT count(*) FROM taken), (SELECT count(*) FROM fresh), set_config('lock_timeout', $9, true)`

// TakeParked begins another attempt of a parked message. The partition's committed offset is
// the fence: ErrMoved means that the node was wrong about it. taken is false if an operator
// has changed the message meanwhile; fresh is false if it was handled already.
func TakeParked(ctx context.Context, tx *sql.Tx, o *Offsets, stream string, partition int, committed int64, m Parked, lockTimeout string) (taken, fresh bool, err error) {
	var fencedRows, takenRows, freshRows int
	var limit string
	err = tx.QueryRowContext(ctx, takeParkedSQL, o.Subscriber, stream, partition, committed, o.Node, m.Row, m.State, m.Offset, lockTimeout).
		Scan(&fencedRows, &takenRows, &freshRows, &limit)
	if err != nil {
		return false, false, fmt.Errorf("take parked message: %w", err)
	}
	if fencedRows == 0 {
		return false, false, ErrMoved
	}
	return takenRows > 0, freshRows > 0, nil
}

// RemoveParked removes a parked message that was handled.
func RemoveParked(ctx context.Context, tx *sql.Tx, m Parked) error {
	if _, err := tx.ExecContext(ctx, `DELETE FROM parked_messages WHERE id = $1`, m.Row); err != nil {
		return fmt.Errorf("release %s: %w", m.ID, err)
	}
	return nil
}
