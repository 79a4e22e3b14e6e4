package deadletter

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"

	"millrace/platform/bus/cluster"
	"millrace/platform/bus/store"
	"millrace/platform/errs"
)

// Forgotten is what Forget did.
type Forgotten struct {
	Discarded int // messages that waited for a version that knows the type
	Left      int // parked messages of the type that are left: dead letters, and those blocked by others of their keys
}

// forgetPatience is how long Forget tries to lock out the batches in flight, and
// forgetTurn how long new batches wait for it each time.
const (
	forgetPatience = 20 * time.Second
	forgetTurn     = 500 * time.Millisecond
)

// Forget removes a module's subscription to a type that no version will subscribe to
// any more. In the same transaction it discards the messages that wait for a version
// that knows the type, as Discard does. The messages behind them are handled, and
// later events of the type are skipped. Dead letters of the type stay, and so do
// messages blocked by another one of their key. Commands are never skipped: a later
// command of the type waits again.
//
// If a running process subscribes to the type, the error is a Conflict that names
// the process. A process that starts later with the type subscribes again; discarded
// messages stay discarded. A process that is starting at this moment is not seen,
// and subscribes again at its next start. Without a subscription and without waiting
// messages the error is NotFound; without ownership of the tables it is Forbidden.
// Forget locks out the batches of all modules in the database, for at most half a
// second at a time, so that no batch parks a message that Forget does not see. If it
// cannot within 20 s, the error is Contention.
func Forget(ctx context.Context, db *sql.DB, modules []string, module, messageType, by, reason string) (_ Forgotten, err error) {
	if err := answerable(&by, &reason); err != nil {
		return Forgotten{}, err
	}
	defer errs.Wrap(&err, "forget %s of %s", messageType, module)
	if !slices.Contains(modules, module) {
		return Forgotten{}, errs.InvalidField("module", "there is no %q here", module)
	}
	var owns bool
	err = db.QueryRowContext(ctx, `SELECT has_table_privilege('bus.registrations', 'DELETE')`).Scan(&owns)
	switch {
	case err != nil:
		return Forgotten{}, err
	case !owns:
		return Forgotten{}, errs.New(errs.Forbidden, "a module's role may not: it is for the owner of the tables, who runs `millrace migrate`")
	}
	for until := time.Now().Add(forgetPatience); ; {
		done, err := forgetOnce(ctx, db, module, messageType, by, reason)
		if pq.As(err, pqerror.LockNotAvailable) == nil {
			return done, err
		}
		if time.Now().After(until) {
			return Forgotten{}, errs.New(errs.Contention, "something holds %s: a handler that hangs, a backup; try again (%w)", "bus.registrations", err)
		}
		between := time.NewTimer(forgetTurn) // for those who waited with it
		select {
		case <-between.C:
		case <-ctx.Done():
			between.Stop()
			return Forgotten{}, ctx.Err()
		}
	}
}

func forgetOnce(ctx context.Context, db *sql.DB, module, messageType, by, reason string) (done Forgotten, err error) {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return done, err
	}
	defer func() { _ = tx.Rollback() }() // after a commit there is nothing to roll back
	// Every run reads the registrations with its first statement. Once the lock is
	// there, none is in flight that has read this one; and one that waited for the
	// lock looks at what is there after it.
	for _, statement := range []string{
		fmt.Sprintf(`SET LOCAL lock_timeout = %d`, forgetTurn.Milliseconds()),
		`LOCK TABLE bus.registrations IN ACCESS EXCLUSIVE MODE`,
	} {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return done, err
		}
	}
	var process string
	var since time.Time
	err = tx.QueryRowContext(ctx, `
		SELECT id, started_at FROM bus.nodes WHERE `+store.Living+` AND $1 || '/' || $2 = ANY(subscriptions) ORDER BY started_at LIMIT 1`,
		module, messageType).Scan(&process, &since)
	switch {
	case err == nil:
		return done, errs.New(errs.Conflict, "process %s, started at %s, subscribes to it: end every process whose version does", process, since.Local().Format("2006-01-02 15:04:05"))
	case !errors.Is(err, sql.ErrNoRows):
		return done, err
	}
	deleted, err := tx.ExecContext(ctx, `DELETE FROM bus.registrations WHERE subscriber = $1 AND type = $2`, module, messageType)
	if err != nil {
		return done, err
	}
	registered, err := deleted.RowsAffected()
	if err != nil {
		return done, err
	}
	if done, err = discardHeld(ctx, tx, module, messageType, by, reason); err != nil {
		return Forgotten{}, err
	}
	if registered == 0 && done.Discarded == 0 {
		return Forgotten{}, errs.New(errs.NotFound, "no version has subscribed to it, and nothing is held for one; %d messages of the type are dead letters, or held behind others", done.Left)
	}
	return done, tx.Commit()
}

// discardHeld discards what is held for a version that knows the type, and wakes
// the owners of the partitions.
func discardHeld(ctx context.Context, tx *sql.Tx, module, messageType, by, reason string) (done Forgotten, err error) {
	var topics []string
	var partitions []int64
	err = tx.QueryRowContext(ctx, fmt.Sprintf(`
		WITH gone AS (
			UPDATE %[1]s.parked_messages a SET %[2]s WHERE a.subscriber = $1 AND a.type = $4 AND (%[3]s OR %[4]s) RETURNING a.topic, a.partition
		), parts AS (
			SELECT topic, partition FROM gone GROUP BY topic, partition ORDER BY topic, partition
		)
		SELECT (SELECT count(*) FROM gone), coalesce((SELECT array_agg(topic) FROM parts), '{}'), coalesce((SELECT array_agg(partition::bigint) FROM parts), '{}')`,
		module, discarding, unknown, waits(module)), module, by, reason, messageType).Scan(&done.Discarded, pq.Array(&topics), pq.Array(&partitions))
	if err != nil {
		return done, err
	}
	for i, topic := range topics {
		if err := cluster.NotifyParked(ctx, tx, module, topic, int(partitions[i])); err != nil {
			return done, err
		}
	}
	return done, tx.QueryRowContext(ctx, fmt.Sprintf(`SELECT count(*) FROM %s.parked_messages WHERE subscriber = $1 AND type = $2 AND state <> 'discarded'`, module),
		module, messageType).Scan(&done.Left)
}
