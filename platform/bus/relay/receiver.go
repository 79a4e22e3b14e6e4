package relay

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"millrace/platform/bus"
	"millrace/platform/bus/store"
	"millrace/platform/bus/work"
	"millrace/platform/errs"
	"millrace/platform/failpoint"
)

// ErrBehind means that what arrived was kept, and that the checkpoints were not where it
// begins: the database crashed or was restored meanwhile. Begin again at the checkpoints.
var ErrBehind = errors.New("the database does not have what was received before")

// ReaderOf returns the name of the reader of what arrives at a module of a stream: changes are
// reported under it.
func ReaderOf(module, stream string) string { return module + "<" + stream }

// ReceiverConfig describes what a module receives.
type ReceiverConfig struct {
	Module string
	DB     *sql.DB // the bridge's connections for the module; search path: its schema
	// Subscriber handles what arrives.
	Subscriber *work.Group
	Offsets    *store.Offsets
	// Types are the types to which the module subscribes.
	Types map[string]string
	// Readers read what arrives, and what is appended to queues.
	Readers work.Readers
	// Notify notifies the other nodes of changes.
	Notify func(changes map[string]uint64)
	// Distrust has everything that this process knows of the database read again.
	Distrust func()
	// LostAfter is how long messages wait for one before them that did not arrive, KeepHandled
	// how long handled ones stay.
	LostAfter, KeepHandled time.Duration
	Logger                 *slog.Logger
}

// Receiver keeps what a bridge receives for a module.
type Receiver struct {
	cfg     ReceiverConfig
	highest highest
	refuser refuser
}

// NewReceiver returns a module's receiver.
func NewReceiver(cfg ReceiverConfig) *Receiver {
	return &Receiver{cfg: cfg, refuser: refuser{cfg.Module, cfg.Logger}}
}

// Receive keeps rows, in one transaction, and wakes the subscriber. Receiving rows again is
// harmless. Rows without a number are put into the module's own queue, since nobody promises
// anything about their order. The checkpoints are how far this takes the bridge's partitions.
//
// A row whose number another message has, or whose number cannot be true (see refuseJumps),
// becomes a dead letter that blocks nothing.
//
// Once it has returned nil the bridge may forget rows that came without checkpoints. Those
// with checkpoints it may forget after the next Flush: until then a crash of the database
// server may forget them and their checkpoints, together.
//
// It waits until the router has subscribed to all the module's types. The errors are the
// database's, and then nothing was kept; or ErrBehind, about the checkpoints alone.
func (r *Receiver) Receive(ctx context.Context, rows []store.Row, checkpoints ...store.Checkpoint) (err error) {
	if len(rows)+len(checkpoints) == 0 {
		return nil
	}
	select {
	case <-r.cfg.Subscriber.Started():
	case <-r.cfg.Subscriber.Stopping():
		return errs.New(errs.Shutdown, "module %s is closed", r.cfg.Module)
	case <-ctx.Done():
		return errs.As(errs.Timeout, ctx.Err())
	}
	if rows, err = r.refuseJumps(ctx, rows); err != nil {
		return err
	}
	counted := slices.DeleteFunc(slices.Clone(rows), func(row store.Row) bool { return row.Sequence == 0 })
	changes := r.changes(rows)
	var kept int
	var behind, offered bool
	failpoint.Here("inbound.before_commit")
	if len(counted) == len(rows) {
		// Most of the time it is one statement, which commits by itself.
		var a store.Arrival
		kept, behind, err = r.keep(ctx, r.cfg.DB, &a, rows, checkpoints, false)
		offered = err == nil && kept == len(rows) && r.offer(rows, &a)
		failpoint.Here("inbound.kept")
	}
	if err == nil && kept < len(rows) {
		kept = len(rows)
		behind, err = r.keepAll(ctx, rows, counted, checkpoints, changes)
	}
	if err == nil {
		for _, row := range counted {
			r.highest.raise(placeOf(row), row.Sequence)
		}
	}
	failpoint.Here("inbound.after_commit")
	if kept > 0 || err != nil { // after an error too: perhaps only the reply was lost
		r.wake(changes, offered)
	}
	if err == nil && behind {
		r.cfg.Distrust()
		return ErrBehind
	}
	return err
}

// changes are the partitions into which rows are written.
func (r *Receiver) changes(rows []store.Row) map[string]uint64 {
	changes := map[string]uint64{}
	for _, row := range rows {
		if row.Sequence == 0 {
			r.queued(changes, row)
		} else {
			changes[ReaderOf(r.cfg.Module, store.StreamOf(row.Topic, row.Source))] |= 1 << row.Partition
		}
	}
	return changes
}

func (r *Receiver) queued(changes map[string]uint64, row store.Row) {
	changes[bus.CommandsOf(r.cfg.Module)] |= 1 << store.PartitionOf(row.Key)
}

// keep inserts rows with numbers into the inbound table and moves the checkpoints.
func (r *Receiver) keep(ctx context.Context, db store.Statements, a *store.Arrival, rows []store.Row, checkpoints []store.Checkpoint, always bool) (kept int, behind bool, err error) {
	for _, row := range rows {
		if err := a.Add(store.StreamOf(row.Topic, row.Source), row); err != nil {
			return 0, false, err
		}
	}
	return a.Keep(ctx, db, r.cfg.Module, checkpoints, always)
}

// offer gives rows, all of which were kept just now, to their readers. False means that some
// have to be read from the table.
func (r *Receiver) offer(rows []store.Row, a *store.Arrival) (all bool) {
	all = true
	for i, row := range rows {
		all = r.cfg.Readers.Offer(ReaderOf(r.cfg.Module, store.StreamOf(row.Topic, row.Source)), row.Partition, a.Record(i, row)) && all
	}
	return all
}

// keepAll keeps rows of all kinds, in a transaction.
func (r *Receiver) keepAll(ctx context.Context, rows, counted []store.Row, checkpoints []store.Checkpoint, changes map[string]uint64) (behind bool, err error) {
	tx, err := r.cfg.DB.BeginTx(ctx, nil)
	if err != nil {
		return false, fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // after the commit it does nothing; else the first error is the one to return
	var a store.Arrival
	kept, behind, err := r.keep(ctx, tx, &a, counted, checkpoints, true)
	if err != nil {
		return false, err
	}
	queued := slices.DeleteFunc(slices.Clone(rows), func(row store.Row) bool { return row.Sequence != 0 })
	if kept < len(counted) {
		refused, err := r.refuseReused(ctx, tx, &a, counted)
		if err != nil {
			return false, err
		}
		queued = append(queued, refused...)
		for _, row := range refused {
			r.queued(changes, row)
		}
	}
	for i, row := range queued {
		if queued[i], err = r.refuser.fit(row); err != nil {
			return false, err
		}
	}
	if len(queued) > 0 {
		if err := store.Enqueue(ctx, tx, queued); err != nil {
			return false, err
		}
	}
	if err := tx.Commit(); err != nil {
		return false, fmt.Errorf("commit: %w", err)
	}
	return behind, nil
}

// refuseReused returns those of the rows whose number another message has, or that arrived
// after their number counted as lost, as rows that become dead letters. An event of a type to
// which the module does not subscribe is nobody's loss.
func (r *Receiver) refuseReused(ctx context.Context, db store.Querier, a *store.Arrival, rows []store.Row) (refused []store.Row, err error) {
	err = a.Reused(ctx, db, r.cfg.Module, func(i int, stream, other string) {
		row := rows[i]
		if row.Topic != bus.CommandsOf(r.cfg.Module) && r.cfg.Types[row.Type] == "" {
			return
		}
		why := fmt.Sprintf("its number, %d of %s, partition %d, was used by another message, %s", row.Sequence, stream, row.Partition, other)
		if other == "" {
			why = fmt.Sprintf("it arrived after its number, %d of %s, partition %d, had been given up as lost", row.Sequence, stream, row.Partition)
		}
		refused = append(refused, r.refuser.refuse(row, why+": find it in its sender's log, mend what it should have done, and discard it"))
	})
	return refused, err
}

// wake wakes the subscriber, and notifies the other nodes.
func (r *Receiver) wake(changes map[string]uint64, offered bool) {
	if offered {
		r.cfg.Readers.Wake(changes)
	} else {
		r.cfg.Readers.Changed(changes)
	}
	r.cfg.Notify(changes)
}

// Maintain detects gaps, and prunes what was handled.
func (r *Receiver) Maintain(ctx context.Context) {
	if !r.cfg.Subscriber.Working() {
		return
	}
	for _, step := range []func(context.Context) error{
		r.fillGaps,
		func(ctx context.Context) error { return store.PruneInbound(ctx, r.cfg.Offsets, r.cfg.KeepHandled) },
	} {
		if err := step(ctx); err != nil && ctx.Err() == nil {
			r.cfg.Logger.Warn("prune failed", "subscriber", r.cfg.Module, "kind", errs.KindOf(err).String(), "error", err.Error())
		}
	}
}

func (r *Receiver) fillGaps(ctx context.Context) error {
	gaps, err := store.FillGaps(ctx, r.cfg.Offsets, r.cfg.LostAfter)
	changes := map[string]uint64{}
	for _, g := range gaps {
		changes[ReaderOf(r.cfg.Module, g.Stream)] |= 1 << g.Partition
		if g.Passed {
			r.cfg.Subscriber.Reload(g.Stream, g.Partition)
		}
		r.cfg.Logger.Error("messages never arrived, and what follows them has waited long enough: see the dead letters",
			"subscriber", r.cfg.Module, "stream", g.Stream, "partition", g.Partition, "first", g.First, "last", g.Last)
	}
	r.wake(changes, false)
	return err
}
