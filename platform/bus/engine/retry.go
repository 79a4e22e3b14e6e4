package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"millrace/platform/bus/internal/delivery"
	"millrace/platform/bus/store"
	"millrace/platform/failpoint"
)

// retryParked handles a partition's parked messages that are due: the first one of each key,
// then the next one of that key, in order. After a batch's number of messages it leaves due
// set and lets the stream have a turn: a long release must not stop the other keys. When
// nothing is due any more it sets the timer for the next retry.
func (p *processor) retryParked(ctx context.Context, t *partition) error {
	for left := p.cfg.BatchSize; ; {
		first, wait, err := store.FirstParked(ctx, p.offsets, t.Stream, t.Number)
		if err != nil {
			return err
		}
		progress := false
		for _, m := range first {
			if !m.Due || !p.knows(m.Type) || !p.group.Working() || left == 0 {
				continue
			}
			if err := p.retry(ctx, t, m); err != nil {
				return err
			}
			progress = true
			left--
		}
		if progress && left > 0 && p.group.Working() {
			continue
		}
		t.parked = make(map[string]bool, len(first)) // with keys that were released just now: they are looked at again
		for _, m := range first {
			t.parked[m.Key] = true
		}
		t.due = progress
		if t.timer != nil {
			t.timer.Stop()
		}
		if wait > 0 {
			t.timer = time.AfterFunc(wait, func() { p.group.CheckParked(t.Stream, t.Number) })
		}
		return nil
	}
}

// retry tries one parked message, in an isolated transaction of its own.
func (p *processor) retry(ctx context.Context, t *partition, m store.Parked) error {
	for {
		err := p.retryOnce(ctx, t, m)
		if !errors.Is(err, errRedo) {
			return err
		}
	}
}

func (p *processor) retryOnce(ctx context.Context, t *partition, m store.Parked) (err error) {
	tx, err := p.cfg.DB.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() {
		if err != nil {
			_ = tx.Rollback() // the first error is the one to return
		}
	}()
	taken, fresh, err := store.TakeParked(ctx, tx, p.offsets, t.Stream, t.Number, t.Offset, m, p.lockTimeout(t))
	if err != nil {
		return err
	}
	if !taken {
		return tx.Rollback() // an operator changed it; the next look shows how
	}
	failpoint.Here("parked.taken")
	b := &batch{p: p, tx: tx, size: 1, all: true, out: &delivery.Outbox{}}
	failed := false
	if fresh {
		d := &delivery.Delivery{Tx: tx, Isolated: true, Out: b.out, Attempt: m.Attempts + 1, Failed: t.failed[m.Offset]}
		d.Park = func(ctx context.Context, cause error) error {
			failed = true
			b.unclaimed = append(b.unclaimed, store.IdentityOf(t.Stream, m.Record))
			parking := parkingAfter(p.cfg.Backoff, m.Attempts+1, cause)
			b.note(t.Stream, m.Record, parking)
			err := store.ParkAgain(ctx, tx, m, parking)
			if err == nil {
				failpoint.Here("parked.failed_again")
			}
			return err
		}
		if err := b.deliver(ctx, t, m.Record, d); err != nil {
			return err
		}
	}
	if !failed {
		if err := store.RemoveParked(ctx, tx, m); err != nil {
			return err
		}
	}
	failpoint.Here("parked.released")
	if err := b.finish(ctx); err != nil {
		b.wake()
		return err
	}
	failpoint.Here("parked.after_commit")
	delete(t.failed, m.Offset)
	b.committed()
	return nil
}
