package sqltransport

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"millrace/platform/bus/internal/run"
	"millrace/platform/bus/store"
	"millrace/platform/errs"
	"millrace/platform/failpoint"
	"millrace/platform/redact"
)

// The states of a parked message. Only the node that owns the partition moves,
// parks or releases; an operator changes dead to retry_scheduled by compare-and-set.
const (
	stateRetryScheduled  = "retry_scheduled"  // failed; tried again at next_attempt_at
	stateBlocked         = "blocked"          // behind an earlier message of its key
	stateAwaitingVersion = "awaiting_version" // only another version of the module handles its type
	stateDead            = "dead"             // failed for good; an operator must act
)

// asideRow says how a message goes aside.
type asideRow struct {
	state    string
	attempts int
	wait     time.Duration // until the next attempt, if retrying
	kind     errs.Kind
	text     string
}

// dead is a message that became a dead letter.
type dead struct {
	row   record
	topic string
	asideRow
}

// afterFailure decides what becomes of a message whose nth attempt failed.
func (s *subscriber) afterFailure(attempt int, cause error) asideRow {
	kind := errs.KindOf(cause)
	row := asideRow{state: stateDead, attempts: attempt, kind: kind, text: redact.Error(cause)}
	if kind.Reaction() != errs.Dead && attempt <= len(s.t.cfg.Backoff) {
		row.state, row.wait = stateRetryScheduled, s.t.cfg.Backoff[attempt-1]
	}
	return row
}

// nextAttemptAt is the SQL of next_attempt_at, with the wait in milliseconds as parameter.
const nextAttemptAt = `CASE WHEN $%d = 'retry_scheduled' THEN clock_timestamp() + $%d * interval '1 millisecond' END`

// putAside copies the row aside in the run's transaction. Later messages of its
// key join it.
func (r *batchRun) putAside(ctx context.Context, p *part, row record, a asideRow) error {
	if p.aside == nil {
		p.aside = map[string]bool{}
	}
	p.aside[row.key] = true
	_, err := r.tx.ExecContext(ctx, `
		INSERT INTO parked_messages (subscriber, topic, partition, "offset", message_id, type, key, payload, metadata, state, attempts, next_attempt_at, kind, error, failed_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::json, $10, $11, `+fmt.Sprintf(nextAttemptAt, 10, 12)+`, $13, $14, CASE WHEN $11 > 0 THEN clock_timestamp() END)
		ON CONFLICT (subscriber, message_id, split_part(topic, '/', 1)) DO NOTHING`, // a repetition of one that is aside already
		r.s.module, p.t.topic, p.t.partition, row.offset, row.id, row.typ, row.key, row.payload, string(row.metadata),
		a.state, a.attempts, a.wait.Milliseconds(), a.kind.String(), a.text)
	if err != nil {
		return fmt.Errorf("put message %s aside: %w", row.id, err)
	}
	failpoint.Here("aside.put")
	if a.state == stateDead {
		r.dead = append(r.dead, dead{row, p.t.topic, a})
	}
	return nil
}

// load asks the database where the task stands. A partition that another
// process owns is no longer this task's.
func (s *subscriber) load(ctx context.Context, t *task) (owned bool, err error) {
	var owner uuid.NullUUID
	var keys []string
	err = s.db.QueryRowContext(ctx, `
		SELECT committed_offset, node, coalesce((
			SELECT array_agg(DISTINCT a.key) FROM parked_messages a
			WHERE a.subscriber = p.subscriber AND a.topic = p.topic AND a.partition = p.partition AND a.state <> 'discarded'), '{}')
		FROM offsets p WHERE subscriber = $1 AND topic = $2 AND partition = $3`,
		s.module, t.topic, t.partition).Scan(&t.position, &owner, pq.Array(&keys))
	if err != nil {
		return false, fmt.Errorf("load position: %w", err)
	}
	if owner.UUID != s.t.process {
		s.queue.lost(t)
		return false, nil
	}
	t.aside = make(map[string]bool, len(keys))
	for _, key := range keys {
		t.aside[key] = true
	}
	t.loaded, t.drain = true, len(keys) > 0
	t.forgive()
	return true, nil
}

// giveBack hands the partition to whoever claims it next.
func (s *subscriber) giveBack(ctx context.Context, t *task) error {
	t.loaded = false
	failpoint.Here("lease.before_give_back")
	_, err := s.db.ExecContext(ctx, `UPDATE offsets SET node = NULL WHERE subscriber = $1 AND topic = $2 AND partition = $3 AND node = $4`,
		s.module, t.topic, t.partition, s.t.process)
	if err != nil {
		return fmt.Errorf("give back: %w", err)
	}
	failpoint.Here("lease.given_back")
	s.queue.lost(t)
	return nil
}

// head is the first open message of a key that is aside.
type head struct {
	record
	asideID  int64
	state    string
	attempts int
	due      bool
}

// drain handles what is aside and due: each key's first message, then the next
// one of that key, in order. After so many messages it leaves t.drain set and
// lets the log have a turn: a long release must not stop the other keys. When
// nothing is due any more it sets the timer for what is due next.
func (s *subscriber) drain(ctx context.Context, t *task) error {
	for left := s.t.cfg.MaxRun; ; {
		heads, wait, err := s.heads(ctx, t)
		if err != nil {
			return err
		}
		progress := false
		for _, h := range heads {
			if !h.due || !s.knows(h.typ) || s.isStopping() || left == 0 {
				continue
			}
			if err := s.redeliver(ctx, t, h); err != nil {
				return err
			}
			progress = true
			left--
		}
		if progress && left > 0 && !s.isStopping() {
			continue
		}
		t.aside = make(map[string]bool, len(heads)) // with keys that were released just now: they are looked at again
		for _, h := range heads {
			t.aside[h.key] = true
		}
		t.drain = progress
		if t.timer != nil {
			t.timer.Stop()
		}
		if wait > 0 {
			t.timer = time.AfterFunc(wait, func() { s.queue.poke(t) })
		}
		return nil
	}
}

// heads returns the first open message of each key, and how long until the
// next of those that are not due yet; 0 when there is none.
func (s *subscriber) heads(ctx context.Context, t *task) (_ []head, wait time.Duration, err error) {
	rows, err := s.db.QueryContext(ctx, `
		SELECT DISTINCT ON (key) id, "offset", message_id, type, key, payload, metadata, state, attempts,
			coalesce(extract(epoch FROM next_attempt_at - clock_timestamp()), 0)::float8
		FROM parked_messages WHERE subscriber = $1 AND topic = $2 AND partition = $3 AND state <> 'discarded'
		ORDER BY key, "offset"`, s.module, t.topic, t.partition)
	if err != nil {
		return nil, 0, fmt.Errorf("read what is aside: %w", err)
	}
	defer rows.Close()
	var all []head
	for rows.Next() {
		var h head
		var seconds float64
		if err := rows.Scan(&h.asideID, &h.offset, &h.id, &h.typ, &h.key, &h.payload, &h.metadata, &h.state, &h.attempts, &seconds); err != nil {
			return nil, 0, fmt.Errorf("read what is aside: %w", err)
		}
		h.decoded = &decodedMetadata{}
		h.due = h.state != stateDead && (h.state != stateRetryScheduled || seconds <= 0)
		if h.state == stateRetryScheduled && seconds > 0 {
			in := time.Duration(seconds*float64(time.Second)) + time.Millisecond
			if wait == 0 || in < wait {
				wait = in
			}
		}
		all = append(all, h)
	}
	return all, wait, rows.Err()
}

// retakeSQL fences the partition, takes the aside row by compare-and-set of its
// state, and writes the inbox row. The handler waits for a lock as long as
// lockLimit says.
const retakeSQL = `
WITH fenced AS (
    SELECT 1 FROM offsets WHERE subscriber = $1 AND topic = $2 AND partition = $3 AND committed_offset = $4 AND node = $5 FOR UPDATE
), taken AS (
    UPDATE parked_messages SET attempts = attempts + 1 WHERE id = $6 AND state = $7 AND EXISTS (SELECT 1 FROM fenced) RETURNING message_id
), fresh AS (
    INSERT INTO inbox (message_id, subscriber, topic, partition, "offset") SELECT message_id, $1, $2, $3, $8 FROM taken
    ON CONFLICT DO NOTHING RETURNING 1
)
SELECT (SELECT count(*) FROM fenced), (SELECT count(*) FROM taken), (SELECT count(*) FROM fresh), set_config('lock_timeout', $9, true)`

// redeliver tries one message that is aside, in a guarded transaction of its own.
func (s *subscriber) redeliver(ctx context.Context, t *task, h head) error {
	for {
		err := s.redeliverOnce(ctx, t, h)
		if !errors.Is(err, errRedo) {
			return err
		}
	}
}

func (s *subscriber) redeliverOnce(ctx context.Context, t *task, h head) (err error) {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() {
		if err != nil {
			_ = tx.Rollback() // the first error is the one to tell
		}
	}()
	var fenced, taken, fresh int
	var limit string
	err = tx.QueryRowContext(ctx, retakeSQL, s.module, t.topic, t.partition, t.position, s.t.process, h.asideID, h.state, h.offset, s.lockLimit(t)).
		Scan(&fenced, &taken, &fresh, &limit)
	switch {
	case err != nil:
		return fmt.Errorf("take what is aside: %w", err)
	case fenced == 0:
		return errMoved
	case taken == 0:
		return tx.Rollback() // an operator changed it; the next look sees how
	}
	failpoint.Here("aside.taken")
	r := &batchRun{s: s, tx: tx, size: 1, all: true, out: &run.Outbox{}}
	failed := false
	if fresh > 0 {
		d := &run.Delivery{Tx: tx, Guarded: true, Out: r.out, Attempt: h.attempts + 1, Blamed: t.blamed[h.offset]}
		d.Aside = func(ctx context.Context, cause error) error {
			failed = true
			r.unheld = append(r.unheld, t.identity(h.record))
			a := s.afterFailure(h.attempts+1, cause)
			if a.state == stateDead {
				r.dead = append(r.dead, dead{h.record, t.topic, a})
			}
			return s.failAgain(ctx, tx, h, a)
		}
		if err := r.deliver(ctx, t, h.record, d); err != nil {
			return err
		}
	}
	if !failed {
		if _, err := tx.ExecContext(ctx, `DELETE FROM parked_messages WHERE id = $1`, h.asideID); err != nil {
			return fmt.Errorf("release %s: %w", h.id, err)
		}
	}
	failpoint.Here("aside.released")
	if err := r.finish(ctx); err != nil {
		r.unknown()
		return err
	}
	failpoint.Here("aside.after_commit")
	delete(t.blamed, h.offset)
	r.committed()
	return nil
}

// failAgain records another failed attempt of a message that is aside.
func (s *subscriber) failAgain(ctx context.Context, tx *sql.Tx, h head, a asideRow) error {
	_, err := tx.ExecContext(ctx, `
		UPDATE parked_messages SET state = $2, next_attempt_at = `+fmt.Sprintf(nextAttemptAt, 2, 3)+`, kind = $4, error = $5, failed_at = clock_timestamp() WHERE id = $1`,
		h.asideID, a.state, a.wait.Milliseconds(), a.kind.String(), a.text)
	if err != nil {
		return fmt.Errorf("put message %s aside again: %w", h.id, err)
	}
	failpoint.Here("aside.failed_again")
	return nil
}

// holdUnknown says why a message of a type that this process does not know must
// wait, or "" when it is nobody's: the receiver decides what it hears.
func (r *batchRun) holdUnknown(topic, messageType string) string {
	if strings.HasSuffix(store.TopicOf(topic), ".commands") {
		return "this version of the module does not know the command"
	}
	if slices.Contains(r.newer, messageType) {
		return "another version of the module has subscribed to the type, and this one does not know it"
	}
	return ""
}
