package sqltransport

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"millrace/platform/bus"
	"millrace/platform/bus/internal/run"
	"millrace/platform/errs"
	"millrace/platform/failpoint"
)

const (
	maxRun       = 16                     // messages in one transaction
	runTarget    = 100 * time.Millisecond // a run that takes longer makes the next ones shorter
	soloPeriod   = 10 * time.Second       // runs of one message after contention
	maxPause     = 10 * time.Second       // the longest wait while the database is away
	handlerGrace = time.Second            // for a handler to notice that its time is over
)

var (
	errMoved = errors.New("the position was moved by somebody else")
	errRedo  = errors.New("the run is done again, guarded")
)

// execute runs ready tasks, one at a time, until the subscriber stops.
func (s *subscriber) execute() {
	defer s.executors.Done()
	for {
		t := s.queue.next()
		if t == nil {
			return
		}
		more, err := s.work(t)
		if err != nil {
			t.loaded = false
			more = s.pause(t, err)
		} else {
			s.paused.Store(0)
		}
		s.queue.done(t, more)
	}
}

// pause waits after a failure that was no message's fault. It uses up no attempt.
func (s *subscriber) pause(t *task, err error) (more bool) {
	if errors.Is(err, errMoved) || s.isStopping() {
		return !s.isStopping()
	}
	failures := s.paused.Add(1)
	wait := min(maxPause, 50*time.Millisecond<<min(failures-1, 10))
	s.log.Warn("subscription pauses", "topic", t.topic, "partition", t.partition, "for", wait, "kind", errs.KindOf(err).String(), "error", err.Error())
	return s.sleep(wait)
}

// work does one step of a task: hands the partition over, drains what is aside
// and due, or runs what is there now of the log.
func (s *subscriber) work(t *task) (more bool, err error) {
	ctx := context.Background() // work in flight is finished, whoever goes down
	claimed, release, poked, reload := s.queue.flags(t)
	t.drain = t.drain || poked
	t.loaded = t.loaded && !reload
	if !claimed {
		return false, nil
	}
	if !s.t.lease.valid() {
		// After a pause longer than the lease nothing is handled before it is renewed.
		s.sleep(50 * time.Millisecond)
		return !s.isStopping(), nil
	}
	if release {
		return false, s.giveBack(ctx, t)
	}
	if !t.loaded {
		if owned, err := s.load(ctx, t); err != nil || !owned {
			return false, err
		}
	}
	if t.position < 0 { // undecided: what arrives first decides
		t.loaded = false
		return false, nil
	}
	if t.drain {
		if err := s.drain(ctx, t); err != nil {
			return false, err
		}
	}
	limit := int(s.runSize.Load())
	if time.Now().UnixMilli() < s.solo.Load() {
		limit = 1
	}
	if s.relay() {
		limit = forwardRows
	}
	rows, err := s.readers[t.topic].after(ctx, t.partition, t.position, limit)
	if err != nil || len(rows) == 0 {
		return t.drain, err
	}
	if s.relay() {
		return s.forward(ctx, t, rows)
	}
	started := time.Now()
	err = s.run(ctx, t, rows, false)
	for errors.Is(err, errRedo) && !s.isStopping() { // each time one more message is known to fail
		err = s.run(ctx, t, rows, true)
	}
	s.adapt(time.Since(started))
	return err == nil, err
}

// adapt keeps runs short.
func (s *subscriber) adapt(took time.Duration) {
	size := s.runSize.Load()
	switch {
	case took > runTarget && size > 1:
		s.runSize.CompareAndSwap(size, size/2)
	case took < runTarget/4 && size < maxRun:
		s.runSize.CompareAndSwap(size, min(size*2, maxRun))
	}
}

// run handles rows in one transaction: position and inbox, each handler's
// effect, everything outgoing, COMMIT. The first time without savepoints; if a
// message fails, again with one around each, so that the blame is certain. The
// failed run is no attempt.
func (s *subscriber) run(ctx context.Context, t *task, rows []record, guarded bool) (err error) {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	r := &batchRun{s: s, t: t, tx: tx, guarded: guarded, out: &run.Outbox{}, aside: map[string]bool{}}
	defer func() {
		if err != nil {
			_ = tx.Rollback() // the first error is the one to tell
		}
	}()
	failpoint.Here("run.begun")
	last := rows[len(rows)-1].offset
	fresh, err := r.claim(ctx, rows, last)
	if err != nil {
		return err
	}
	failpoint.Here("run.claimed")
	for _, row := range rows {
		if err := r.handle(ctx, row, fresh); err != nil {
			return err
		}
	}
	failpoint.Here("run.handled")
	if err := r.finish(ctx); err != nil {
		if !guarded && errs.KindOf(err).Reaction() != errs.Pause {
			return errRedo // it blames nobody: guard all
		}
		r.unknown()
		return err
	}
	t.position = last
	for key := range r.aside {
		t.aside[key] = true
		t.drain = true
	}
	clear(t.blamed)
	r.committed()
	return nil
}

// batchRun is a transaction that handles messages of one partition.
type batchRun struct {
	s       *subscriber
	t       *task
	tx      *sql.Tx
	guarded bool
	out     *run.Outbox
	aside   map[string]bool // keys that went aside in this run
	newer   []string        // types that only a newer version of the subscriber knows
	unheld  []string        // ids whose inbox rows go again, since their messages were put aside
}

// claimSQL moves the position by compare-and-set, and writes the inbox rows of
// what is new, in one statement. No row back means that somebody else decided.
//
// It also answers which of the types that this process does not know a newer
// version of the subscriber does: one that another living process hears, or
// that was registered after this process started. The statement sees every
// registration that was committed before any of the run's messages, so that
// none of them is skipped that the newer version counts on.
const claimSQL = `
WITH moved AS (
    UPDATE positions SET position = $5
    WHERE subscriber = $1 AND topic = $2 AND partition = $3 AND position = $4 AND owner = $6
    RETURNING 1
), fresh AS (
    INSERT INTO inbox (message_id, subscriber, topic, partition, "offset")
    SELECT m.id, $1, $2, $3, m."offset" FROM moved, unnest($7::uuid[], $8::bigint[]) AS m(id, "offset")
    ON CONFLICT DO NOTHING
    RETURNING message_id
)
SELECT (SELECT count(*) FROM moved),
    coalesce((SELECT array_agg(message_id::text) FROM fresh), '{}'),
    coalesce((SELECT array_agg(r.type) FROM bus.registrations r WHERE r.subscriber = $1 AND r.type = ANY($9) AND (
        r.since > (SELECT me.started_at FROM bus.processes me WHERE me.id = $6)
        OR EXISTS (SELECT 1 FROM bus.processes other WHERE other.id <> $6 AND other.expires_at > clock_timestamp() AND r.subscriber || '/' || r.type = ANY(other.hears)))), '{}')`

// claim returns the ids of rows that this subscriber has not handled before.
func (r *batchRun) claim(ctx context.Context, rows []record, to int64) (map[uuid.UUID]bool, error) {
	var ids, unknown []string
	var offsets []int64
	for _, row := range rows {
		if r.s.knows(row.typ) {
			ids = append(ids, row.id.String())
			offsets = append(offsets, row.offset)
		} else {
			unknown = append(unknown, row.typ)
		}
	}
	var moved int
	var fresh []string
	err := r.tx.QueryRowContext(ctx, claimSQL, r.s.module, r.t.topic, r.t.partition, r.t.position, to, r.s.t.process,
		pq.Array(ids), pq.Array(offsets), pq.Array(unknown)).Scan(&moved, pq.Array(&fresh), pq.Array(&r.newer))
	if err != nil {
		return nil, fmt.Errorf("claim: %w", err)
	}
	if moved == 0 {
		return nil, errMoved
	}
	set := make(map[uuid.UUID]bool, len(fresh))
	for _, id := range fresh {
		parsed, err := uuid.Parse(id)
		if err != nil {
			return nil, fmt.Errorf("claim: %w", err)
		}
		set[parsed] = true
	}
	return set, nil
}

// handle brings one row of the log to its handler, or decides that there is
// nothing to do: a type that the module does not list, or a repetition.
func (r *batchRun) handle(ctx context.Context, row record, fresh map[uuid.UUID]bool) error {
	behind := r.t.aside[row.key] || r.aside[row.key]
	if isLost(row.typ) && row.typ != restLost {
		return r.putAside(ctx, row, asideRow{state: stateDead, kind: errs.Undecodable, text: "it never arrived; its sender still has it"})
	}
	if !r.s.knows(row.typ) {
		if why := r.holdUnknown(row.typ); why != "" {
			return r.putAside(ctx, row, asideRow{state: stateHeld, kind: errs.Unknown, text: why})
		}
		return nil
	}
	if !fresh[row.id] {
		return nil
	}
	delete(fresh, row.id) // a second copy in the same run is a repetition
	if behind {
		r.unheld = append(r.unheld, row.id.String())
		return r.putAside(ctx, row, asideRow{state: stateHeld, text: "behind an earlier message of its key"})
	}
	d := &run.Delivery{Tx: r.tx, Guarded: r.guarded, Out: r.out, Blamed: r.t.blamed[row.offset]}
	d.Aside = func(ctx context.Context, cause error) error {
		r.unheld = append(r.unheld, row.id.String())
		return r.putAside(ctx, row, r.s.afterFailure(1, cause))
	}
	return r.deliver(ctx, row, d)
}

// deliver sends the message through the router and waits for its Ack or Nack.
func (r *batchRun) deliver(ctx context.Context, row record, d *run.Delivery) error {
	msg := row.message(r.t.topic, r.t.partition)
	msg.SetContext(run.With(ctx, d))
	ch := r.s.channels[row.typ]
	limit := time.NewTimer(bus.HandlerTimeout*2 + handlerGrace)
	defer limit.Stop()
	var failed error
	select {
	case ch <- msg:
		select {
		case <-msg.Acked():
			return nil
		case <-msg.Nacked():
			failed = d.Err
		case <-limit.C:
			// The handler hangs and ignores its context. Its transaction goes
			// without it; whatever it does later fails.
			failed = errs.New(errs.Timeout, "handler did not return within its time limit of %s", bus.HandlerTimeout)
			d = &run.Delivery{Broken: true, Late: true}
		}
	case <-limit.C:
		failed = errs.New(errs.Resource, "the router does not take messages")
	}
	return r.s.judge(r.t, row, d, r.guarded, failed)
}

// judge decides what follows from a message that was not acked: the run is done
// again, with the message blamed if that is certain, or the subscription pauses.
func (s *subscriber) judge(t *task, row record, d *run.Delivery, guarded bool, failed error) error {
	if failed == nil {
		failed = errs.New(errs.Unknown, "nacked without an error")
	}
	kind := errs.KindOf(failed)
	switch {
	case d.Blamed != nil: // even putting it aside failed
		return errs.As(errs.Resource, fmt.Errorf("put message %s aside: %w", row.id, failed))
	case kind.Reaction() == errs.Pause && guarded:
		return failed
	case kind == errs.Contention:
		s.solo.Store(time.Now().Add(soloPeriod).UnixMilli())
	}
	if guarded || d.Late { // a time-out is not tried twice
		if t.blamed == nil {
			t.blamed = map[int64]error{}
		}
		t.blamed[row.offset] = failed
	}
	failpoint.Here("run.before_redo")
	return errRedo
}

// finish writes what the run said and commits.
func (r *batchRun) finish(ctx context.Context) error {
	if len(r.unheld) > 0 {
		// Their release must not count as a repetition.
		if _, err := r.tx.ExecContext(ctx, `DELETE FROM inbox WHERE subscriber = $1 AND message_id = ANY($2::uuid[])`, r.s.module, pq.Array(r.unheld)); err != nil {
			return fmt.Errorf("inbox of what went aside: %w", err)
		}
	}
	if err := r.s.t.Append(ctx, r.tx, r.out.Messages); err != nil {
		return fmt.Errorf("append: %w", err)
	}
	failpoint.Here("run.before_commit")
	if err := r.tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	failpoint.Here("run.after_commit")
	return nil
}

// unknown wakes whoever the commit would have woken: perhaps it happened, and
// only the answer was lost.
func (r *batchRun) unknown() { r.s.t.Committed(r.out.Messages) }

func (r *batchRun) committed() {
	r.s.t.Committed(r.out.Messages)
	for _, f := range r.out.Commit {
		f()
	}
}

// knows tells whether the module listens to a type.
func (s *subscriber) knows(messageType string) bool { return s.channels[messageType] != nil }
