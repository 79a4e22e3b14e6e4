package sqltransport

import (
	"context"
	"database/sql"
	"maps"
	"slices"
	"sync"
	"time"

	"millrace/platform/errs"
	"millrace/platform/failpoint"
)

// Drain takes no new message and waits for those in flight, at most until ctx
// ends. The modules' handles stay open for requests in flight.
func (t *Transport) Drain(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		var all sync.WaitGroup
		for _, s := range t.subscribers {
			all.Go(s.stop)
		}
		all.Wait()
		failpoint.Here("shutdown.drained")
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return errs.New(errs.Timeout, "messages are still in flight: their transactions will be rolled back, and they will be handled again")
	}
}

// Close ends everything, and waits a few seconds for a server that does not
// answer. Call Drain, and the router's Close, before, or what is in flight is
// rolled back. What a process did not finish another one does, or this one after
// its next start.
func (t *Transport) Close() error {
	t.closeOnce.Do(func() {
		for _, s := range t.subscribers {
			s.halt()
		}
		t.cancel()
		t.awaitBackground()
		if t.lease != nil {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			if err := t.lease.End(ctx); err != nil {
				t.cfg.Logger.Debug("lease left to expire", "error", err.Error())
			}
		}
		pools := []*sql.DB{t.notifyDB, t.leaseDB, t.callDB, t.db}
		for _, of := range []map[string]*sql.DB{t.modules, t.carrying} {
			pools = slices.AppendSeq(pools, maps.Values(of))
		}
		for _, db := range pools {
			if db == nil {
				continue
			}
			// A connection that broke before cannot say goodbye: nothing is lost with it.
			if err := db.Close(); err != nil {
				t.cfg.Logger.Debug("connection was broken already", "error", err.Error())
			}
		}
	})
	return nil
}

// closeWithin is how long Close waits for a server that does not answer.
const closeWithin = 3 * time.Second

func (t *Transport) awaitBackground() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		t.background.Wait()
	}()
	select {
	case <-done:
	case <-time.After(closeWithin):
		t.cfg.Logger.Warn("closing: the database does not answer; what waits for it is left")
	}
}
