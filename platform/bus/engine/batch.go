package engine

import (
	"context"
	"database/sql"
	"fmt"

	"millrace/platform/bus/internal/delivery"
	"millrace/platform/bus/store"
	"millrace/platform/errs"
	"millrace/platform/failpoint"
)

// part is what a batch has of one partition.
type part struct {
	t      *partition
	rows   []store.Record
	parked map[string]bool // keys of messages that this batch parks
}

func (p *part) last() int64 { return p.rows[len(p.rows)-1].Offset }

// runBatch handles the parts' messages in one transaction: it moves the offsets, inserts the
// inbox rows, has each message handled, appends what handlers published, and commits. With an
// error nothing has happened; errRedo means that more is known of the messages that fail. An
// attempt that is rolled back does not count as one of a message.
func (p *processor) runBatch(ctx context.Context, parts []*part) (err error) {
	tx, err := p.cfg.DB.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	b := &batch{p: p, tx: tx, parts: parts, all: len(parts) == 1 && parts[0].t.isolation.all, out: &delivery.Outbox{}}
	defer func() {
		if err != nil {
			_ = tx.Rollback() // the first error is the one to return
		}
	}()
	for _, part := range parts {
		part.parked = nil
		b.size += len(part.rows)
	}
	failpoint.Here("batch.begun")
	fresh, err := b.claim(ctx)
	if err != nil {
		return err
	}
	failpoint.Here("batch.claimed")
	for _, part := range parts {
		for _, row := range part.rows {
			if err := b.handle(ctx, part, row, fresh); err != nil {
				return err
			}
		}
	}
	failpoint.Here("batch.handled")
	if err := b.finish(ctx); err != nil {
		if !b.all && errs.KindOf(err).Reaction() != errs.Pause {
			for _, part := range parts {
				part.t.isolation.all = len(parts) == 1 // it shows no message that fails
			}
			return errRedo
		}
		b.wake()
		return err
	}
	for _, part := range parts {
		part.t.Offset = part.last()
		part.t.isolation.end()
		for key := range part.parked {
			part.t.parked[key] = true
			part.t.due = true
		}
	}
	b.committed()
	return nil
}

// batch is a transaction that handles messages.
type batch struct {
	p         *processor
	tx        *sql.Tx
	parts     []*part
	size      int  // how many messages
	all       bool // a savepoint stands around each of them
	out       *delivery.Outbox
	newer     []string         // types that only another version of the subscriber knows
	dead      []deadLetter     // messages that are dead letters with the commit
	unclaimed []store.Identity // messages that are parked, so that their inbox rows are removed again
}

// shared reports whether several handlers share the transaction and its locks, so that it can
// be divided into batches of one message.
func (b *batch) shared() bool { return b.size > 1 && !b.all }

// claim moves the offsets, and returns which messages this subscriber has not handled before.
func (b *batch) claim(ctx context.Context) (map[store.Identity]bool, error) {
	first := b.parts[0]
	if b.size == 1 && b.p.knows(first.rows[0].Type) {
		row := first.rows[0]
		fresh, err := store.ClaimSingle(ctx, b.tx, b.p.offsets, first.t.Stream, first.t.Number, first.t.Offset, row, b.lockTimeout())
		if err != nil {
			return nil, err
		}
		return map[store.Identity]bool{store.IdentityOf(first.t.Stream, row): fresh}, nil
	}
	var c store.Claim
	for _, part := range b.parts {
		c.Add(part.t.Stream, part.t.Number, part.t.Offset, part.last())
		for _, row := range part.rows {
			if b.p.knows(row.Type) {
				c.Message(part.t.Stream, part.t.Number, row)
			} else {
				c.Unknown(row.Type)
			}
		}
	}
	fresh, newer, err := c.Run(ctx, b.tx, b.p.offsets, b.lockTimeout())
	b.newer = newer
	return fresh, err
}

// lockTimeout is how long the handlers wait for one lock.
func (b *batch) lockTimeout() string {
	if b.shared() {
		return sharedLockTimeout
	}
	return b.p.lockTimeout(b.parts[0].t)
}

// handle passes a message to its handler, or parks it, or skips it: a type to which the module
// does not subscribe, or a repetition.
func (b *batch) handle(ctx context.Context, part *part, row store.Record, fresh map[store.Identity]bool) error {
	if parking, special := parkingOf(row); special {
		return b.park(ctx, part, row, parking)
	}
	if row.Type == store.TypeLostToo { // the first of them is the dead letter
		return nil
	}
	if !b.p.knows(row.Type) {
		if why := b.awaitsVersion(part.t.Stream, row.Type); why != "" {
			return b.park(ctx, part, row, store.Parking{State: store.StateAwaitingVersion, Kind: errs.Unknown.String(), Error: why})
		}
		return nil
	}
	id := store.IdentityOf(part.t.Stream, row)
	if !fresh[id] {
		return nil
	}
	delete(fresh, id) // a second copy in the same batch is a repetition
	if part.t.parked[row.Key] || part.parked[row.Key] {
		b.unclaimed = append(b.unclaimed, id)
		return b.park(ctx, part, row, store.Parking{State: store.StateBlocked, Kind: errs.Unknown.String(), Error: "behind an earlier message of its key"})
	}
	d := &delivery.Delivery{Tx: b.tx, Out: b.out, Attempt: 1, Failed: part.t.failed[row.Offset]}
	d.Isolated = b.all || part.t.isolated[row.Offset] || d.Failed != nil
	d.Park = func(ctx context.Context, cause error) error {
		b.unclaimed = append(b.unclaimed, id)
		return b.park(ctx, part, row, parkingAfter(b.p.cfg.Backoff, 1, cause))
	}
	return b.deliver(ctx, part.t, row, d)
}

// park parks a message. Later messages of its key are blocked behind it.
func (b *batch) park(ctx context.Context, part *part, row store.Record, parking store.Parking) error {
	if part.parked == nil {
		part.parked = map[string]bool{}
	}
	part.parked[row.Key] = true
	if err := store.Park(ctx, b.tx, b.p.cfg.Module, part.t.Stream, part.t.Number, row, parking); err != nil {
		return err
	}
	failpoint.Here("parked.inserted")
	b.note(part.t.Stream, row, parking)
	return nil
}

// finish appends what the batch publishes, and commits.
func (b *batch) finish(ctx context.Context) error {
	if len(b.unclaimed) > 0 {
		if err := store.RemoveInbox(ctx, b.tx, b.p.cfg.Module, b.unclaimed); err != nil {
			return err
		}
	}
	if b.shared() && len(b.out.Messages) > 0 {
		// All transactions take publish locks in one order: they may wait for them.
		if err := store.DefaultLockTimeout(ctx, b.tx); err != nil {
			return err
		}
	}
	if err := b.p.cfg.Log.Append(ctx, b.tx, b.out.Messages); err != nil {
		return fmt.Errorf("append: %w", err)
	}
	failpoint.Here("batch.before_commit")
	if err := b.tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	failpoint.Here("batch.after_commit")
	return nil
}

// wake wakes the readers of what the batch publishes. After an error, too: perhaps it was
// committed, and only the reply was lost.
func (b *batch) wake() { b.p.cfg.Log.Committed(b.out.Messages) }

func (b *batch) committed() {
	b.wake()
	for _, f := range b.out.Commit {
		f()
	}
	for _, d := range b.dead {
		b.p.cfg.Logger.Error("message dead", "type", d.Type, "key", d.Key, "message_id", d.ID, "topic", d.stream, "attempts", d.parking.Attempts,
			"kind", d.parking.Kind, "error", d.parking.Error, "help", "millrace deadletters")
	}
}
