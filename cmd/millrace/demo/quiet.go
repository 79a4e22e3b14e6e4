package demo

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"millrace/platform/bus"
	"millrace/platform/errs"
)

// settleWithin is how long after the last fault everything may take to settle.
const settleWithin = 30 * time.Second

// unsettled lists what is still to be done outside the bus: what a query
// counts, by name.
var unsettled = []struct{ what, query string }{
	{"payments without a result", `SELECT count(*) FROM payment.payments WHERE status IN ('pending', 'refunding')`},
	{"parcels on their way", `SELECT count(*) FROM delivery.deliveries WHERE state IN ('prepared', 'shipped')`},
	{"mails to be sent", `SELECT count(*) FROM notification.notifications WHERE state IN ('queued', 'sending')`},
	{"deposits on their way back", `SELECT count(*) FROM consultation.deposit WHERE state = 'refund_requested'`},
	{"events to be filed", `SELECT count(*) FROM dataplatform.record WHERE position IS NULL`},
}

// waitUntilQuiet returns when nothing is left to do, by the database and the
// simulator's book. lastFault tells when a process was killed last. Time is up
// when nothing disturbed the program for settleWithin and it is not quiet yet.
func (s *stage) waitUntilQuiet(ctx context.Context, ended <-chan struct{}, lastFault time.Time, show progress) error {
	fault, faults := lastFault, -1
	for {
		book := s.simulator.Book()
		if n := misbehaved(book.Misbehaviours); n != faults {
			if faults >= 0 {
				fault = time.Now()
			}
			faults = n
		}
		left, err := s.leftToDo(ctx)
		if err != nil {
			return err
		}
		if book.Open > 0 {
			left = append(left, fmt.Sprintf("%d charges of the gateway that it still tells about", book.Open))
		}
		if len(left) == 0 {
			return nil
		}
		show.Note(strings.Join(left, ", "))
		show.Set(min(int(time.Since(fault)/time.Second), int(settleWithin/time.Second)))
		if time.Since(fault) > settleWithin {
			return errs.New(errs.Timeout, "not quiet %s after the last fault: %s; see %s", settleWithin, strings.Join(left, ", "), s.logPath())
		}
		select {
		case <-ended:
			return errs.New(errs.Unknown, "the program ended by itself: see %s", s.logPath())
		default:
		}
		if err := pause(ctx, 400*time.Millisecond); err != nil {
			return err
		}
	}
}

// leftToDo says what is left, as it was at one instant.
func (s *stage) leftToDo(ctx context.Context) (left []string, err error) {
	err = s.snapshot(ctx, func(tx looker) error {
		left, err = leftIn(ctx, tx, s.topo)
		return err
	})
	return left, err
}

func leftIn(ctx context.Context, tx looker, topo *bus.Topology) (left []string, err error) {
	tallies, err := takeTally(ctx, tx, topo)
	if err != nil {
		return nil, err
	}
	var messages int64
	for _, t := range tallies {
		if !t.quiet() {
			messages += t.Pending + t.Retrying + t.Held - t.HeldByDead
		}
	}
	if messages > 0 {
		left = append(left, fmt.Sprintf("%d messages", messages))
	}
	count := func(what, query string) error {
		var n int64
		if err := tx.QueryRowContext(ctx, query).Scan(&n); err != nil {
			return fmt.Errorf("count %s: %w", what, err)
		}
		if n > 0 {
			left = append(left, fmt.Sprintf("%d %s", n, what))
		}
		return nil
	}
	for _, module := range topo.Modules() {
		if err := count("calls to the outside of "+module, `SELECT count(*) FROM `+module+`.dispatch WHERE state IN ('pending', 'leased')`); err != nil {
			return nil, err
		}
	}
	for _, u := range unsettled {
		if err := count(u.what, u.query); err != nil {
			return nil, err
		}
	}
	return left, nil
}

// snapshot reads as of one instant.
func (s *stage) snapshot(ctx context.Context, read func(looker) error) error {
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // it only read
	return read(tx)
}

func misbehaved(counts map[string]int) (n int) {
	for _, count := range counts {
		n += count
	}
	return n
}
