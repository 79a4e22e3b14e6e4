package outbound

import (
	"context"
	"errors"
	"runtime/debug"
	"time"

	"millrace/platform/bus"
	"millrace/platform/errs"
	"millrace/platform/redact"
)

// slowness is what persist does about a transaction that exceeds its time limit.
type slowness int

const (
	limited slowness = iota // it is a fault: an OnComplete may always be too slow
	endless                 // it passes: our own statements are short, so the database is slow
)

// persist records the result of a call. The result must not be lost because our
// own database is unavailable or a lock is held there, so persist retries until
// the result is recorded (nil), the lease is lost (errFenced), the shutdown
// ends ctx, or recording fails for a reason of its own. Meanwhile it renews the
// lease: otherwise another process would repeat the call and use up its
// attempts.
func (l *leases) persist(ctx context.Context, r row, slow slowness, record func(context.Context, *bus.Tx) error) error {
	l.recording.Store(r.id, true)
	defer l.recording.Delete(r.id)
	defer l.keep(ctx, r, l.renewEvery())()
	log := l.log().With("id", r.id, "key", r.key, "correlation_id", r.correlation)
	faults, delayed := 0, false
	for try := 0; ; try++ {
		err := l.inTx(ctx, record)
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
		switch kind := errs.KindOf(err); {
		case kind == errs.Resource, kind == errs.Timeout && slow == endless: // passes by itself
			if !delayed {
				delayed = true
				log.Warn("the result cannot be recorded yet; trying again", "error", redact.Error(err), "kind", kind)
			}
		case kind.Reaction() == errs.Again, kind.Reaction() == errs.Leave: // likewise
		default:
			if faults++; faults >= l.maxFaults {
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

// renewEvery is the interval of renewals: after a call, at least 5 s of the
// lease remain.
func (l *leases) renewEvery() time.Duration { return min(l.lease/5, 2*time.Second) }

// keep renews the lease of a call, after first and then regularly, until ctx or
// end ends it. It uses reserved connections, because the module's own may all be
// in use by requests.
func (l *leases) keep(ctx context.Context, r row, first time.Duration) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		due := time.NewTimer(first)
		defer due.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-due.C:
				if errors.Is(renew(ctx, l.db, r, l.lease), errFenced) {
					return // the next attempt to record finds out, too
				}
				due.Reset(l.renewEvery())
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
func (l *leases) inTx(ctx context.Context, f func(context.Context, *bus.Tx) error) (err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	defer contain(&err)
	return l.db.InTx(ctx, func(tx *bus.Tx) error { return f(ctx, tx) })
}

// contain converts a panic to an error of kind Unknown with the stack. It drops
// the panic's value from the error chain, because the value may be anything.
func contain(err *error) {
	if p := recover(); p != nil {
		*err = errs.As(errs.Unknown, redact.Panic(p, debug.Stack()))
	}
}
