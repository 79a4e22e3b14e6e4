package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// run is one run of the command: its server, its size, what it found.
type run struct {
	server  *server
	scale   scale
	found   *findings
	log     io.Writer
	options options
	order   int    // changes who begins
	kafka   *kafka // nil before its first use
	until   time.Time

	floorURL string // the floor's database; "" before its first use
}

// rounds yields the rounds of a measure. On a machine that is too busy for all
// of a quick run there are fewer, but always one.
func (r *run) rounds(yield func(int) bool) {
	started := time.Now()
	for round := range r.scale.rounds {
		if round > 0 && !r.until.IsZero() && time.Now().Add(time.Since(started)/time.Duration(round)).After(r.until) {
			r.found.note("fewer rounds than planned, to be done in 2 minutes")
			return
		}
		if !yield(round) {
			return
		}
	}
}

// turns calls each of the jobs once, every other time in the reverse order, so
// that whatever drifts favours nobody.
func (r *run) turns(jobs []func() error) error {
	r.order++
	for i := range jobs {
		if r.order%2 == 0 {
			i = len(jobs) - 1 - i
		}
		if err := jobs[i](); err != nil {
			return err
		}
	}
	return nil
}

// with opens a contender on a fresh database for the time of f.
func (r *run) with(ctx context.Context, k kind, f func(c contender, url string) error) (err error) {
	if r.options.ours && k.name != kindOurs.name {
		return nil
	}
	url, drop, err := r.server.database(ctx)
	if err != nil {
		return err
	}
	defer drop()
	c, err := k.open(ctx, url)
	if err != nil {
		return fmt.Errorf("%s: %w", k.name, err)
	}
	defer func() { err = errors.Join(err, c.close()) }()
	if err := f(c, url); err != nil {
		return fmt.Errorf("%s: %w", k.name, err)
	}
	return nil
}

// fill publishes payments that nobody handles yet, 100 in a transaction. All of
// a key come from one writer, in order: keys are a multiple of the writers.
func fill(ctx context.Context, c contender, payments int) error {
	const batch, writers = 100, 4
	return together(writers, func(w int) error {
		var some []payment
		for seq := w; seq < payments; seq += writers {
			if some = append(some, newPayment(seq)); len(some) < batch && seq+writers < payments {
				continue
			}
			if err := c.publish(ctx, some); err != nil {
				return err
			}
			some = some[:0]
		}
		return nil
	})
}

// together runs n of f and joins their errors.
func together(n int, f func(i int) error) error {
	all := make([]error, n)
	var working sync.WaitGroup
	for i := range n {
		working.Go(func() { all[i] = f(i) })
	}
	working.Wait()
	return errors.Join(all...)
}

// handle lets a contender work off a backlog, until it is done or the limit
// passes, and then counts the rows. watch is called when the backlog is there,
// what it returns when the work is done.
func (r *run) handle(ctx context.Context, c contender, url string, payments int, b behaviour, limit time.Duration, watch func() (stop func(), err error)) (*board, error) {
	if err := fill(ctx, c, payments); err != nil {
		return nil, fmt.Errorf("backlog: %w", err)
	}
	if err := r.server.settle(ctx); err != nil {
		return nil, err
	}
	b.observer = newTally(payments)
	stop, err := watch()
	if err != nil {
		return nil, err
	}
	server, client := r.server.cpu()
	b.observer.began = time.Since(b.observer.start)
	if err := c.start(ctx, b); err != nil {
		return nil, err
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-b.observer.done:
	case <-timer.C:
	case <-ctx.Done():
	}
	complete := b.observer.count.Load() == b.observer.want
	b.observer.server, b.observer.client = r.server.cpu()
	b.observer.server -= server
	b.observer.client -= client
	stop()
	if err := errors.Join(c.stop(), ctx.Err()); err != nil {
		return nil, err
	}
	return b.observer, count(ctx, c, url, payments, complete)
}

// count makes sure that no effect is there twice and, of a complete run, none is missing.
func count(ctx context.Context, c contender, url string, payments int, complete bool) error {
	db, err := sql.Open("postgres", url)
	if err != nil {
		return err
	}
	defer db.Close() //nolint:errcheck // nothing is lost with it
	for _, table := range c.effects() {
		var all, different int
		if err := db.QueryRowContext(ctx, `SELECT count(*), count(DISTINCT payment_id) FROM `+table).Scan(&all, &different); err != nil {
			return err
		}
		if all != different {
			return fmt.Errorf("%s has %d rows for %d payments: effects were doubled", table, all, different)
		}
		if complete && all != payments {
			return fmt.Errorf("%s has %d rows of %d: effects were lost", table, all, payments)
		}
	}
	return nil
}

// openLoop publishes at a rate, at times that nothing delays: each payment has
// a goroutine of its own. It returns how many there were.
func openLoop(ctx context.Context, c contender, b *board, from, perSecond int, d time.Duration, jitter func() float64) (to int, err error) {
	n := int(d.Seconds() * float64(perSecond))
	to = min(from+n, len(b.committed))
	interval := time.Second / time.Duration(perSecond)
	started := time.Now()
	var first atomic.Pointer[error]
	var working sync.WaitGroup
	for seq := from; seq < to; seq++ {
		due := started.Add(time.Duration((float64(seq-from) + jitter()) * float64(interval)))
		timer := time.NewTimer(time.Until(due))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			working.Wait()
			return seq, ctx.Err()
		}
		working.Go(func() {
			if err := c.publish(ctx, []payment{newPayment(seq)}); err != nil {
				first.CompareAndSwap(nil, &err)
				return
			}
			b.published(seq)
		})
	}
	working.Wait()
	if failed := first.Load(); failed != nil {
		return to, *failed
	}
	return to, nil
}
