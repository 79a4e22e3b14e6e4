package sqltransport

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/lib/pq"

	"millrace/platform/bus"
	"millrace/platform/bus/internal/run"
	"millrace/platform/bus/store"
	"millrace/platform/errs"
	"millrace/platform/failpoint"
)

// part is what a run takes of one partition.
type part struct {
	t     *task
	rows  []record
	aside map[string]bool // keys that went aside in this run
}

func (p *part) last() int64 { return p.rows[len(p.rows)-1].offset }

// run handles the parts' rows in one transaction: positions and inbox, each
// handler's effect, everything outgoing, COMMIT. The first time without
// savepoints; if a message fails, again with one around that suspect; if that
// does not clear it up (somebody before it swallowed an SQL error, or nobody
// failed but the COMMIT), with one around each, so that the blame is certain.
// The failed run is no attempt.
func (s *subscriber) run(ctx context.Context, parts []*part) (err error) {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	r := &batchRun{s: s, tx: tx, parts: parts, all: len(parts) == 1 && parts[0].t.guardAll, out: &run.Outbox{}}
	defer func() {
		if err != nil {
			_ = tx.Rollback() // the first error is the one to tell
		}
	}()
	for _, p := range parts {
		p.aside = nil
		r.size += len(p.rows)
	}
	failpoint.Here("run.begun")
	fresh, err := r.claim(ctx)
	if err != nil {
		return err
	}
	failpoint.Here("run.claimed")
	for _, p := range parts {
		for _, row := range p.rows {
			if err := r.handle(ctx, p, row, fresh); err != nil {
				return err
			}
		}
	}
	failpoint.Here("run.handled")
	if err := r.finish(ctx); err != nil {
		if !r.all && errs.KindOf(err).Reaction() != errs.Pause {
			for _, p := range parts {
				p.t.guardAll = len(parts) == 1 // it blames nobody
			}
			return errRedo
		}
		r.unknown()
		return err
	}
	for _, p := range parts {
		p.t.position = p.last()
		p.t.forgive()
		for key := range p.aside {
			p.t.aside[key] = true
			p.t.drain = true
		}
	}
	r.committed()
	return nil
}

// batchRun is a transaction that handles messages.
type batchRun struct {
	s      *subscriber
	tx     *sql.Tx
	parts  []*part
	size   int  // how many messages
	all    bool // a savepoint stands around each of them
	out    *run.Outbox
	newer  []string   // types that only another version of the subscriber knows
	dead   []dead     // messages that become dead letters with the commit
	unheld []identity // whose inbox rows go again, since these messages were parked
}

// crowded says that several handlers share the transaction and its locks, and
// that it can be given up for runs of one.
func (r *batchRun) crowded() bool { return r.size > 1 && !r.all }

// unreadableText is the error text of an unreadable record. The carrier has escaped
// an invalid type.
func unreadableText(metadata []byte) string {
	if bad := store.DecodeMetadata(metadata).Get(store.MetaBadType); bad != "" {
		return "it came from the carrier with a type that no message may have, so nobody can read it: " + bad
	}
	return "it came from the carrier without a type, so nobody can read it"
}

// handle brings one row of the log to its handler, or decides that there is
// nothing to do: a type that the module does not list, or a repetition.
func (r *batchRun) handle(ctx context.Context, p *part, row record, fresh map[identity]bool) error {
	if row.typ == store.TypeLost {
		return r.putAside(ctx, p, row, asideRow{state: stateDead, kind: errs.Undecodable, text: "it never arrived; its sender still has it"})
	}
	if row.typ == store.TypeUnreadable { // a repetition is aside already
		return r.putAside(ctx, p, row, asideRow{state: stateDead, kind: errs.Undecodable, text: unreadableText(row.metadata)})
	}
	if row.typ == store.TypeRefused {
		return r.putAside(ctx, p, row, asideRow{state: stateDead, kind: errs.Forbidden, text: store.DecodeMetadata(row.metadata).Get(store.MetaRefused)})
	}
	if row.typ == store.TypeLostToo { // the first of them tells it
		return nil
	}
	if !r.s.knows(row.typ) {
		if why := r.holdUnknown(p.t.topic, row.typ); why != "" {
			return r.putAside(ctx, p, row, asideRow{state: stateAwaitingVersion, kind: errs.Unknown, text: why})
		}
		return nil
	}
	if !fresh[p.t.identity(row)] {
		return nil
	}
	delete(fresh, p.t.identity(row)) // a second copy in the same run is a repetition
	if p.t.aside[row.key] || p.aside[row.key] {
		r.unheld = append(r.unheld, p.t.identity(row))
		return r.putAside(ctx, p, row, asideRow{state: stateBlocked, text: "behind an earlier message of its key"})
	}
	d := &run.Delivery{Tx: r.tx, Out: r.out, Attempt: 1, Blamed: p.t.blamed[row.offset]}
	d.Guarded = r.all || p.t.suspects[row.offset] || d.Blamed != nil
	d.Aside = func(ctx context.Context, cause error) error {
		r.unheld = append(r.unheld, p.t.identity(row))
		return r.putAside(ctx, p, row, r.s.afterFailure(1, cause))
	}
	return r.deliver(ctx, p.t, row, d)
}

// patience is how long a handler is waited for before others must not wait with
// it: the other partitions of its transaction, and the module's other work.
const patience = bus.HandlerTimeout / 4

// deliver sends the message through the router and waits for its Ack or Nack. If
// that takes long, a run of several partitions is given up, to be done partition
// by partition, and a run of one gets a substitute for its executor.
func (r *batchRun) deliver(ctx context.Context, t *task, row record, d *run.Delivery) error {
	msg := row.message(t.topic, t.partition)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // a statement of a handler that is not waited for any more would hold up the rollback
	msg.SetContext(run.With(ctx, d))
	ch := r.s.channels[row.typ]
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for slow := false; ; {
		select {
		case ch <- msg:
			ch = nil // taken
		case <-msg.Acked():
			return nil
		case <-msg.Nacked():
			return r.judge(t, row, verdict{d.Err, d.Guarded, d.Blamed != nil, d.Late})
		case <-limit.C:
			switch {
			case !slow && len(r.parts) > 1:
				r.s.runSize.Store(1)
				t.suspect(row.offset)
				return errRedo
			case !slow:
				slow = true
				defer r.s.substitute()()
				limit.Reset(bus.HandlerTimeout*2 + handlerGrace - patience)
			case ch != nil:
				return errs.New(errs.Resource, "the router does not take messages")
			default:
				// The handler hangs and ignores its context. Its transaction goes
				// without it; whatever it does later fails.
				return r.judge(t, row, verdict{late: true,
					err: errs.New(errs.Timeout, "handler did not return within its time limit of %s", bus.HandlerTimeout)})
			}
		}
	}
}

// verdict is what is known of a message that was not acked.
type verdict struct {
	err     error
	guarded bool
	blamed  bool // its handler was not even called
	late    bool
}

// judge decides what follows from a message that was not acked: the run is done
// again with more guards, or with the message blamed if that is certain; or the
// partition pauses; or the run is given up for shorter ones.
func (r *batchRun) judge(t *task, row record, v verdict) error {
	if v.err == nil {
		v.err = errs.New(errs.Unknown, "nacked without an error")
	}
	kind, locked := errs.KindOf(v.err), errs.Locked(v.err)
	contended := r.crowded() && (kind == errs.Contention || locked)
	if contended {
		r.s.solo.Store(time.Now().Add(soloPeriod).UnixMilli())
	}
	failpoint.Here("run.before_redo")
	switch {
	case v.late: // a time-out is not tried twice
		t.blame(row.offset, v.err)
	case contended:
		return errCrowded
	case locked && !v.blamed: // whoever holds the lock is to blame, and no guard is needed to know it
		return errs.As(errs.Resource, v.err)
	case !r.all && !v.guarded:
		t.suspect(row.offset)
	case !r.all:
		t.guardAll = true // the transaction was broken before this message
	case v.blamed: // even putting it aside failed
		return errs.As(errs.Resource, fmt.Errorf("put message %s aside: %w", row.id, v.err))
	case kind.Reaction() == errs.Pause:
		return v.err
	default:
		t.blame(row.offset, v.err)
	}
	return errRedo
}

// finish writes what the run sends and commits.
func (r *batchRun) finish(ctx context.Context) error {
	if len(r.unheld) > 0 {
		// Their release must not count as a repetition.
		ids, topics := make([]string, len(r.unheld)), make([]string, len(r.unheld))
		for i, m := range r.unheld {
			ids[i], topics[i] = m.id.String(), m.topic
		}
		if _, err := r.tx.ExecContext(ctx, `DELETE FROM inbox i WHERE subscriber = $1 AND message_id = ANY($2::uuid[])
			AND EXISTS (SELECT FROM unnest($2::uuid[], $3::text[]) AS m(id, topic) WHERE m.id = i.message_id AND m.topic = split_part(i.topic, '/', 1))`,
			r.s.module, pq.Array(ids), pq.Array(topics)); err != nil {
			return fmt.Errorf("inbox of what went aside: %w", err)
		}
	}
	if r.crowded() && len(r.out.Messages) > 0 {
		// Publish locks are taken in one order by everybody: they may take their time.
		if _, err := r.tx.ExecContext(ctx, `SET LOCAL lock_timeout TO DEFAULT`); err != nil {
			return fmt.Errorf("lock timeout: %w", err)
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
	for _, d := range r.dead {
		r.s.log.Error("message dead", "type", d.row.typ, "key", d.row.key, "message_id", d.row.id, "topic", d.topic, "attempts", d.attempts,
			"kind", d.kind.String(), "error", d.text, "help", "millrace deadletters")
	}
}

// knows tells whether the module listens to a type.
func (s *subscriber) knows(messageType string) bool { return s.channels[messageType] != nil }
