package outbound

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
	"millrace/platform/redact"
)

// process makes a claimed call and records its next state. ctx ends only when a
// shutdown has waited long enough.
func (q *Queue[P, R]) process(ctx context.Context, r row) {
	ctx = bus.WithCorrelation(ctx, r.correlation)
	call := Call[P]{ID: r.id, Key: r.key, Attempt: r.attempts, Correlation: r.correlation}
	out := Outcome[R]{Attempts: min(r.attempts, q.config.MaxAttempts)}

	final := true
	if err := json.Unmarshal(r.payload, &call.Payload); err != nil {
		out.Err = errs.New(errs.Undecodable, "the recorded payload: %w", err)
	} else if r.attempts > q.config.MaxAttempts {
		out.Err = errs.New(errs.Unknown, "gave up: the last of %d calls did not return", q.config.MaxAttempts)
	} else {
		out.Result, out.Err = q.call(ctx, call)
		failpoint.Here("outbound.after_call")
		final = out.Err == nil || errs.KindOf(out.Err).Reaction() == errs.Dead || r.attempts == q.config.MaxAttempts
	}

	if out.Err != nil && ctx.Err() != nil { // cancelled by the shutdown: not a failure
		_ = q.inTx(ctx, func(ctx context.Context, tx *bus.Tx) error { return requeueUncounted(ctx, tx, r) }) // on an error the lease expires instead
		return
	}
	if who, wait, wasClosed := q.gate.note(r.id, out.Err); who != notDelayed {
		q.delay(ctx, r, call, out.Err, who, wait)
		return
	} else if wasClosed > 0 {
		q.log().Info("calls resumed", "delayed_for", wasClosed.Round(time.Second))
		q.look()
	}
	if !final {
		wait := q.backoff(r.attempts)
		q.log().Info("call failed; it is made again", "id", r.id, "key", r.key, "correlation_id", r.correlation,
			"attempt", r.attempts, "wait", wait, "error", redact.Error(out.Err), "kind", errs.KindOf(out.Err))
		if q.persist(ctx, r, func(ctx context.Context, tx *bus.Tx) error {
			if err := scheduleNext(ctx, tx, r, wait, redact.Error(out.Err)); err != nil {
				return err
			}
			return q.onWait(ctx, tx, call, r.attempts, out.Err)
		}) == nil {
			failpoint.Here("outbound.waiting")
			time.AfterFunc(wait, q.look)
		}
		return
	}
	q.complete(ctx, r, call, out)
}

// delay requeues a call that returned a Delay, without counting the attempt.
func (q *Queue[P, R]) delay(ctx context.Context, r row, call Call[P], err error, who delayed, wait time.Duration) {
	text := redact.Error(err)
	log := q.log().With("id", r.id, "key", r.key, "correlation_id", r.correlation, "error", text, "kind", errs.KindOf(err))
	back := postpone
	switch who {
	case firstOfAll:
		log.Warn("calls delayed", "next_probe", wait)
	case withoutOther:
		log.Warn("call delayed, others are not")
		back = func(ctx context.Context, tx *bus.Tx, r row, text string) error {
			return requeue(ctx, tx, r, time.Second, text)
		}
	default:
		log.Debug("calls still delayed", "next_probe", wait)
	}
	if q.persist(ctx, r, func(ctx context.Context, tx *bus.Tx) error {
		if err := back(ctx, tx, r, text); err != nil {
			return err
		}
		return q.onWait(ctx, tx, call, r.attempts-1, err)
	}) == nil {
		time.AfterFunc(wait, q.look)
	}
}

func (q *Queue[P, R]) onWait(ctx context.Context, tx *bus.Tx, call Call[P], attempts int, err error) error {
	if q.config.OnWait == nil {
		return nil
	}
	return q.config.OnWait(ctx, tx, call, attempts, err)
}

// complete records the result once. If that keeps failing, it requeues the
// call.
func (q *Queue[P, R]) complete(ctx context.Context, r row, call Call[P], out Outcome[R]) {
	state, lastError := "succeeded", ""
	if out.Err != nil {
		state, lastError = "failed", redact.Error(out.Err)
	}
	err := q.persist(ctx, r, func(ctx context.Context, tx *bus.Tx) error {
		if err := finish(ctx, tx, r, state, lastError); err != nil {
			return err
		}
		failpoint.Here("outbound.before_complete")
		return q.config.OnComplete(ctx, tx, call, out)
	})
	failpoint.Here("outbound.completed")
	switch {
	case errors.Is(err, errFenced), err != nil && ctx.Err() != nil: // the lease is lost, or the next process completes it
	case err != nil:
		q.log().Error("the result cannot be recorded; the call is made again later", "id", r.id, "key", r.key,
			"correlation_id", r.correlation, "error", redact.Error(err), "kind", errs.KindOf(err))
		text := redact.Error(fmt.Errorf("complete: %w", err))
		_ = q.persist(ctx, r, func(ctx context.Context, tx *bus.Tx) error { // on an error the lease expires instead
			return requeue(ctx, tx, r, time.Second, text)
		})
	case out.Err != nil:
		q.log().Warn("call failed for good", "id", r.id, "key", r.key, "correlation_id", r.correlation,
			"attempts", out.Attempts, "error", lastError, "kind", errs.KindOf(out.Err))
	}
}

// persist records the result of a call. The result must not be lost because our
// own database is unavailable or a lock is held there, so persist retries until
// the result is recorded (nil), the lease is lost (errFenced), the shutdown
// ends ctx, or recording fails for a reason of its own. Meanwhile it renews the
// lease: otherwise another process would repeat the call and use up its
// attempts.
func (q *Queue[P, R]) persist(ctx context.Context, r row, record func(context.Context, *bus.Tx) error) error {
	q.recording.Store(r.id, true)
	defer q.recording.Delete(r.id)
	defer q.keep(ctx, r)()
	log := q.log().With("id", r.id, "key", r.key, "correlation_id", r.correlation)
	faults, delayed := 0, false
	for try := 0; ; try++ {
		err := q.inTx(ctx, record)
		if err == nil {
			if delayed {
				log.Info("the result is recorded")
			}
			return nil
		}
		if errors.Is(err, errFenced) {
			log.Warn("the lease was lost; nothing was recorded")
			return err
		}
		switch errs.KindOf(err).Reaction() {
		case errs.Pause, errs.Again, errs.Leave: // passes by itself
			if errs.KindOf(err) == errs.Resource && !delayed {
				delayed = true
				log.Warn("the result cannot be recorded yet; trying again", "error", redact.Error(err), "kind", errs.KindOf(err))
			}
		default:
			if faults++; faults >= q.maxFaults {
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

// keep renews the lease of a call until end is called. It uses reserved
// connections, because the module's own may all be in use by requests.
func (q *Queue[P, R]) keep(ctx context.Context, r row) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(min(q.lease/5, 2*time.Second)) // after a call, at least 5 s of the lease remain
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if errors.Is(renew(ctx, q.db, r, q.lease), errFenced) {
					return // the next attempt to record finds out, too
				}
			}
		}
	}()
	return func() {
		cancel()
		<-ended
	}
}

// inTx runs f in a transaction that a shutdown does not cancel, and recovers
// panics.
func (q *Queue[P, R]) inTx(ctx context.Context, f func(context.Context, *bus.Tx) error) (err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	defer contain(&err)
	return q.db.InTx(ctx, func(tx *bus.Tx) error { return f(ctx, tx) })
}

// call makes the call with the time limit Timeout, and recovers panics.
func (q *Queue[P, R]) call(ctx context.Context, call Call[P]) (result R, err error) {
	ctx, cancel := context.WithTimeout(ctx, q.config.Timeout)
	defer cancel()
	defer contain(&err)
	return q.config.Do(ctx, call)
}

// contain converts a panic to an error of kind Unknown with the stack. It drops
// the panic's value from the error chain, because the value may be anything.
func contain(err *error) {
	if p := recover(); p != nil {
		*err = errs.As(errs.Unknown, redact.Panic(p, debug.Stack()))
	}
}
