package demo

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"strings"
	"time"

	"millrace/platform/bus"
	"millrace/platform/errs"
)

// settleWithin is the promised time between the last fault and the end of all work. On
// a machine too busy to meet it, the run waits longer as long as anything changes.
const settleWithin = 30 * time.Second

// unsettled lists open work outside the bus: a name, and a query that counts it.
var unsettled = []struct{ what, query string }{
	{"payments without a result", `SELECT count(*) FROM payment.payments WHERE status IN ('pending', 'refunding')`},
	{"parcels on their way", `SELECT count(*) FROM delivery.deliveries WHERE state IN ('prepared', 'shipped')`},
	{"mails to be sent", `SELECT count(*) FROM notification.notifications WHERE state IN ('queued', 'collected', 'sending')`},
	{"deposits on their way back", `SELECT count(*) FROM consultation.deposit WHERE state = 'refund_requested'`},
	{"events to be filed", `SELECT count(*) FROM dataplatform.record WHERE position IS NULL`},
	{"files that are being written", `SELECT count(*) FROM dataplatform.file WHERE written_at IS NULL`},
}

// waitUntilQuiet waits until the database and the simulator's record show no open
// work. lastFault is the time of the last kill or of the last request; a misbehaviour
// of the simulator meanwhile is a later fault. It returns the time between the last
// fault and the end of the work.
func (s *stage) waitUntilQuiet(ctx context.Context, ended <-chan struct{}, lastFault time.Time, moving *movement, show progress) (time.Duration, error) {
	fault, faults := lastFault, -1
	least, better := math.MaxInt, lastFault // the least open work so far, and since when
	for {
		book := s.simulator.Book()
		if n := misbehaved(book.Misbehaviours); n != faults {
			if faults >= 0 {
				fault = time.Now()
			}
			faults = n
		}
		left, n, err := s.leftToDo(ctx)
		if err != nil {
			return 0, err
		}
		if n < least {
			least, better = n, time.Now()
		}
		if book.Open > 0 {
			left = append(left, fmt.Sprintf("%d charges that the gateway still calls back about", book.Open))
		}
		if len(left) == 0 {
			return time.Since(fault), nil
		}
		show.Note(strings.Join(left, ", "))
		show.Set(min(int(time.Since(fault)/time.Second), int(settleWithin/time.Second)))
		if stalled := moving.stalled(better); stalled != nil && time.Since(fault) > settleWithin {
			return 0, errs.New(errs.Timeout, "not quiet %.0f s after the last fault: %s; %w", time.Since(fault).Seconds(), strings.Join(left, ", "), stalled)
		}
		select {
		case <-ended:
			return 0, errs.New(errs.Unknown, "the program ended by itself: see %s", s.logPath())
		default:
		}
		if err := pause(ctx, 400*time.Millisecond); err != nil {
			return 0, err
		}
	}
}

// leftToDo describes and counts the open work in one snapshot.
func (s *stage) leftToDo(ctx context.Context) (left []string, n int, err error) {
	err = s.snapshot(ctx, func(tx looker) error {
		left, n, err = leftIn(ctx, tx, s.topo)
		return err
	})
	return left, n, err
}

func leftIn(ctx context.Context, tx looker, topo *bus.Topology) (left []string, all int, err error) {
	tallies, err := takeTally(ctx, tx, topo)
	if err != nil {
		return nil, 0, err
	}
	var messages int
	for _, t := range tallies {
		if !t.quiet() {
			messages += int(t.Pending + t.Retrying + t.Held - t.HeldByDead)
		}
	}
	if all = messages; messages > 0 {
		left = append(left, fmt.Sprintf("%d messages", messages))
	}
	count := func(what, query string) error {
		var n int
		if err := tx.QueryRowContext(ctx, query).Scan(&n); err != nil {
			return fmt.Errorf("count %s: %w", what, err)
		}
		if all += n; n > 0 {
			left = append(left, fmt.Sprintf("%d %s", n, what))
		}
		return nil
	}
	for _, module := range topo.Modules() {
		if err := count("calls to the outside of "+module, `SELECT count(*) FROM `+module+`.outbound_calls WHERE state IN ('pending', 'leased')`); err != nil {
			return nil, 0, err
		}
	}
	for _, u := range unsettled {
		if err := count(u.what, u.query); err != nil {
			return nil, 0, err
		}
	}
	return left, all, nil
}

// snapshot calls read with one snapshot of the database. If modules have databases of
// their own, see collect.
func (s *stage) snapshot(ctx context.Context, read func(looker) error) error {
	if len(s.parts) > 0 {
		if err := s.collect(ctx); err != nil {
			return err
		}
	}
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // a read-only transaction
	return read(tx)
}

func misbehaved(counts map[string]int) (n int) {
	for _, count := range counts {
		n += count
	}
	return n
}
