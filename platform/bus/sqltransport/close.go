package sqltransport

import (
	"context"
	"time"

	"millrace/platform/errs"
	"millrace/platform/failpoint"
)

// closeWithin is how long Close waits for a server that does not answer.
const closeWithin = 3 * time.Second

// Drain takes no new message and waits for those in flight, at most until ctx ends. The
// modules' handles stay open for requests in flight.
func (t *Transport) Drain(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		t.hosts.stop()
		failpoint.Here("shutdown.drained")
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return errs.New(errs.Timeout, "messages are still in flight: their transactions will be rolled back, and they will be handled again")
	}
}

// Close ends everything, and waits a few seconds for a server that does not answer. Call
// Drain, and the router's Close, before, or what is in flight is rolled back. What a process
// did not finish another one does, or this one after its next start.
func (t *Transport) Close() error {
	t.once.Do(func() {
		t.hosts.halt()
		t.cancel()
		if !within(closeWithin, t.background.Wait) {
			t.cfg.Logger.Warn("closing: the database does not answer; what waits for it is left")
		}
		if t.lease != nil {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			if err := t.lease.End(ctx); err != nil {
				t.cfg.Logger.Debug("lease left to expire", "error", err.Error())
			}
		}
		if t.pools != nil {
			t.pools.close(t.cfg.Logger)
		}
	})
	return nil
}

// within calls wait, and returns false if it takes longer.
func within(limit time.Duration, wait func()) bool {
	done := make(chan struct{})
	go func() {
		defer close(done)
		wait()
	}()
	select {
	case <-done:
		return true
	case <-time.After(limit):
		return false
	}
}
