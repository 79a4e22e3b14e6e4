package outbound

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"millrace/platform/bus"
	"millrace/platform/correlation"
	"millrace/platform/errs"
	"millrace/platform/failpoint"
	"millrace/platform/redact"
)

// process makes a claimed call and records its next state. ctx ends only when a
// shutdown has waited long enough.
func (q *Queue[P, R]) process(ctx context.Context, r row) {
	ctx = correlation.With(ctx, r.correlation)
	call := Call[P]{ID: r.id, Key: r.key, Attempt: r.attempts, Correlation: r.correlation}
	out := Outcome[R]{Attempts: min(r.attempts, q.config.MaxAttempts)}

	final := true
	if err := json.Unmarshal(r.payload, &call.Payload); err != nil {
		out.Err = errs.New(errs.Undecodable, "the recorded payload: %w", err)
	} else if r.attempts > q.config.MaxAttempts {
		out.Err = errs.New(errs.Unknown, "gave up: the last of %d calls did not return", q.config.MaxAttempts)
	} else {
		out.Result, out.Err = q.call(ctx, r, call)
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
		if q.persist(ctx, r, endless, func(ctx context.Context, tx *bus.Tx) error {
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
			return requeue(ctx, tx, r, wait, text)
		}
	default:
		log.Debug("calls still delayed", "next_probe", wait)
	}
	if q.persist(ctx, r, endless, func(ctx context.Context, tx *bus.Tx) error {
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
	err := q.persist(ctx, r, limited, func(ctx context.Context, tx *bus.Tx) error {
		if err := check(ctx, tx, r); err != nil {
			return err
		}
		failpoint.Here("outbound.before_complete")
		if err := q.config.OnComplete(ctx, tx, call, out); err != nil {
			return err
		}
		return finish(ctx, tx, r, state, lastError) // last, because renewals wait for the row's lock
	})
	failpoint.Here("outbound.completed")
	switch {
	case errors.Is(err, errFenced), err != nil && ctx.Err() != nil: // the lease is lost, or the next process completes it
	case err != nil:
		q.log().Error("the result cannot be recorded; the call is made again later", "id", r.id, "key", r.key,
			"correlation_id", r.correlation, "error", redact.Error(err), "kind", errs.KindOf(err))
		text := redact.Error(fmt.Errorf("complete: %w", err))
		_ = q.persist(ctx, r, endless, func(ctx context.Context, tx *bus.Tx) error { // on an error the lease expires instead
			return requeue(ctx, tx, r, time.Hour, text)
		})
	case out.Err != nil:
		q.log().Warn("call failed for good", "id", r.id, "key", r.key, "correlation_id", r.correlation,
			"attempts", out.Attempts, "error", lastError, "kind", errs.KindOf(out.Err))
	}
}

// call makes the call with the time limit Timeout, and recovers panics. Until
// then it renews the lease, part of which a slow claim has used up.
func (q *Queue[P, R]) call(ctx context.Context, r row, call Call[P]) (result R, err error) {
	ctx, cancel := context.WithTimeout(ctx, q.config.Timeout)
	defer cancel()
	defer contain(&err)
	first := q.renewEvery() - time.Since(r.claimedAt)
	defer q.keep(ctx, r, first)()
	return q.config.Do(ctx, call)
}
