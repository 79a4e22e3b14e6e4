package dispatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"millrace/platform/bus"
	"millrace/platform/errs"
	"millrace/platform/failpoint"
)

// carryOut takes a claimed intent to its next state. ctx ends only when a
// shutdown has lost its patience.
func (d *Dispatcher[P, R]) carryOut(ctx context.Context, r row) {
	ctx = bus.WithCorrelation(ctx, r.correlation)
	in := Intent[P]{ID: r.id, Key: r.key, Attempt: r.attempts, Correlation: r.correlation}
	out := Outcome[R]{Attempts: min(r.attempts, d.out.MaxAttempts)}

	final := true
	if err := json.Unmarshal(r.payload, &in.Payload); err != nil {
		out.Err = errs.New(errs.Undecodable, "the recorded payload: %w", err)
	} else if r.attempts > d.out.MaxAttempts {
		out.Err = errs.New(errs.Unknown, "gave up: the last of %d calls did not return", d.out.MaxAttempts)
	} else {
		out.Result, out.Err = d.call(ctx, in)
		failpoint.Here("dispatch.after_call")
		final = out.Err == nil || errs.KindOf(out.Err).Reaction() == errs.Dead || r.attempts == d.out.MaxAttempts
	}

	if out.Err != nil && ctx.Err() != nil { // cancelled by the shutdown: nobody's failure
		_ = d.inTx(ctx, func(ctx context.Context, tx *bus.Tx) error { return uncount(ctx, tx, r) }) // else its lease ends
		return
	}
	if !final {
		wait := d.backoff(r.attempts)
		d.log().Info("call failed; it is made again", "id", r.id, "key", r.key, "correlation_id", r.correlation,
			"attempt", r.attempts, "wait", wait, "error", redact(out.Err), "kind", errs.KindOf(out.Err))
		if d.persist(ctx, r, func(ctx context.Context, tx *bus.Tx) error { return again(ctx, tx, r, wait, redact(out.Err)) }) == nil {
			failpoint.Here("dispatch.waiting")
			time.AfterFunc(wait, d.look)
		}
		return
	}
	d.settle(ctx, r, in, out)
}

// settle records the result once, or gives the intent back.
func (d *Dispatcher[P, R]) settle(ctx context.Context, r row, in Intent[P], out Outcome[R]) {
	state, lastError := "done", ""
	if out.Err != nil {
		state, lastError = "failed", redact(out.Err)
	}
	err := d.persist(ctx, r, func(ctx context.Context, tx *bus.Tx) error {
		if err := finish(ctx, tx, r, state, lastError); err != nil {
			return err
		}
		failpoint.Here("dispatch.before_settle")
		return d.out.Settle(ctx, tx, in, out)
	})
	failpoint.Here("dispatch.settled")
	switch {
	case errors.Is(err, errFenced), err != nil && ctx.Err() != nil: // another's by now, or the next process's
	case err != nil:
		d.log().Error("the result cannot be recorded; the call is made again later", "id", r.id, "key", r.key,
			"correlation_id", r.correlation, "error", redact(err), "kind", errs.KindOf(err))
		text := redact(fmt.Errorf("settle: %w", err))
		_ = d.persist(ctx, r, func(ctx context.Context, tx *bus.Tx) error { // else its lease ends
			return giveBack(ctx, tx, r, time.Second, text)
		})
	case out.Err != nil:
		d.log().Warn("call failed for good", "id", r.id, "key", r.key, "correlation_id", r.correlation,
			"attempts", out.Attempts, "error", lastError, "kind", errs.KindOf(out.Err))
	}
}

// persist records what happened outside, which must not be forgotten because
// our own database is away: it repeats until it is recorded (nil), fenced
// (errFenced), abandoned by the shutdown, or failing by its own fault.
func (d *Dispatcher[P, R]) persist(ctx context.Context, r row, record func(context.Context, *bus.Tx) error) error {
	faults := 0
	for try := 0; ; try++ {
		err := d.inTx(ctx, record)
		if err == nil {
			return nil
		}
		if errors.Is(err, errFenced) {
			d.log().Warn("the lease was lost; nothing was recorded", "id", r.id, "key", r.key, "correlation_id", r.correlation)
			return err
		}
		switch errs.KindOf(err) {
		case errs.Resource, errs.Contention, errs.Shutdown: // passes by itself
		default:
			if faults++; faults >= d.settles {
				return err
			}
		}
		pause := time.NewTimer(min(50*time.Millisecond<<min(try, 10), 2*time.Second))
		select {
		case <-ctx.Done():
			pause.Stop()
			return err
		case <-pause.C:
		}
	}
}

// inTx runs f in a transaction that a shutdown does not cut off, and contains
// its panics.
func (d *Dispatcher[P, R]) inTx(ctx context.Context, f func(context.Context, *bus.Tx) error) (err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	defer contain(&err)
	return d.db.InTx(ctx, func(tx *bus.Tx) error { return f(ctx, tx) })
}

// call makes the call, bounded by Timeout, and contains its panics.
func (d *Dispatcher[P, R]) call(ctx context.Context, in Intent[P]) (result R, err error) {
	ctx, cancel := context.WithTimeout(ctx, d.out.Timeout)
	defer cancel()
	defer contain(&err)
	return d.out.Call(ctx, in)
}

// contain turns a panic into an error of kind Unknown, with the stack. The
// value of the panic may be anything, so it is told as text only.
func contain(err *error) {
	if p := recover(); p != nil {
		*err = errs.New(errs.Unknown, "panic: %v\n%s", p, debug.Stack())
	}
}
