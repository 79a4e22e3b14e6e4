package engine

import (
	"context"
	"fmt"
	"time"

	"millrace/platform/bus"
	"millrace/platform/bus/internal/delivery"
	"millrace/platform/bus/store"
	"millrace/platform/bus/work"
	"millrace/platform/errs"
	"millrace/platform/failpoint"
)

// handlerGrace is for a handler to notice that its time is over.
const handlerGrace = time.Second

// How long a handler waits for one lock, as lock_timeout.
const (
	// sharedLockTimeout is for handlers that share a transaction: they take their locks in any
	// order, and the server looks for deadlocks only after a second. It is also for most tries
	// of a partition that is paused for a lock, so that those tries do not occupy the workers.
	sharedLockTimeout = "100ms"
	// aloneLockTimeout is shorter than bus.HandlerTimeout, so that PostgreSQL itself reports the
	// lock, and longer than its deadlock_timeout (1 s), so that a deadlock is reported as one.
	aloneLockTimeout = "1500ms"
)

// longTry is how often a partition that is paused for a lock waits as long as any other: one
// that waits for a short time only may never be first in the queue.
const longTry = 8

// lockTimeout is how long the handler of a batch of one message waits for a lock. While a
// partition of the subscriber is paused for one, the others are likely to need the same lock.
func (p *processor) lockTimeout(t *partition) string {
	if p.group.Locked() && t.LockTries()%longTry != longTry-1 {
		return sharedLockTimeout
	}
	return aloneLockTimeout
}

// knows reports whether the module subscribes to a type.
func (p *processor) knows(messageType string) bool { return p.channels[messageType] != nil }

// deliver sends the message through the router and waits for its Ack or Nack. If that takes
// long, a batch of several partitions is rolled back, to be repeated partition by partition,
// and for a batch of one partition another worker starts in the place of this one.
func (b *batch) deliver(ctx context.Context, t *partition, row store.Record, d *delivery.Delivery) error {
	msg := row.Message(t.Stream, t.Number)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // a statement of a handler for which nobody waits any more would delay the rollback
	msg.SetContext(delivery.With(ctx, d))
	ch := b.p.channels[row.Type]
	limit := time.NewTimer(work.Patience)
	defer limit.Stop()
	for slow := false; ; {
		select {
		case ch <- msg:
			ch = nil // taken
		case <-msg.Acked():
			return nil
		case <-msg.Nacked():
			return b.failed(t, row, failure{d.Err, d.Isolated, d.Failed != nil, d.Late})
		case <-limit.C:
			switch {
			case !slow && len(b.parts) > 1:
				b.p.pace.slow()
				t.isolate(row.Offset)
				return errRedo
			case !slow:
				slow = true
				defer b.p.group.Replace()()
				limit.Reset(bus.HandlerTimeout*2 + handlerGrace - work.Patience)
			case ch != nil:
				return errs.New(errs.Resource, "the router does not take messages")
			default:
				// The handler hangs and ignores its context. Its transaction is rolled back
				// without it; whatever it does later fails.
				return b.failed(t, row, failure{late: true,
					err: errs.New(errs.Timeout, "handler did not return within its time limit of %s", bus.HandlerTimeout)})
			}
		}
	}
}

// failure is what is known of a message that was not acked.
type failure struct {
	err      error
	isolated bool // a savepoint stood around it
	known    bool // it was known to fail, and its handler was not called
	late     bool // its handler took longer than its time limit
}

// failed decides what follows from a message that was not acked: the batch is repeated with
// more savepoints, or with the message parked if it is certain that it fails; or the partition
// is paused; or the batch is divided.
func (b *batch) failed(t *partition, row store.Record, f failure) error {
	if f.err == nil {
		f.err = errs.New(errs.Unknown, "nacked without an error")
	}
	kind, locked := errs.KindOf(f.err), errs.Locked(f.err)
	contended := b.shared() && (kind == errs.Contention || locked)
	if contended {
		b.p.pace.contended()
	}
	failpoint.Here("batch.before_redo")
	switch {
	case f.late: // a time-out is not tried twice
		t.fail(row.Offset, f.err)
	case contended:
		return errContended
	case locked && !f.known: // the holder of the lock is the cause, and no savepoint is needed to know it
		return errs.As(errs.Resource, f.err)
	case !b.all && !f.isolated:
		t.isolate(row.Offset)
	case !b.all:
		t.isolation.all = true // the transaction was broken before this message
	case f.known: // it could not even be parked
		return errs.As(errs.Resource, fmt.Errorf("park message %s: %w", row.ID, f.err))
	case kind.Reaction() == errs.Pause:
		return f.err
	default:
		t.fail(row.Offset, f.err)
	}
	return errRedo
}
