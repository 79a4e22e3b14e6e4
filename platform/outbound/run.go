package outbound

import (
	"context"
	"time"
)

// Run claims calls and makes them until ctx is done. Then it finishes the calls
// in flight, as the package comment describes, and returns nil. It may run in
// several processes at once. When the database is unavailable, it logs that and
// waits.
func (q *Queue[P, R]) Run(ctx context.Context) error {
	calls, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()
	tick := time.NewTicker(q.poll)
	defer tick.Stop()

	// Each call has its own goroutine: one that ends abnormally
	// (runtime.Goexit) loses its lease, but no worker. Only this loop counts
	// them.
	ended := make(chan struct{}, q.config.Workers)
	busy := 0
	look := true // finds calls of an earlier process
	for {
		for counted := false; !counted; { // counts all that have ended, so that one claim replaces them
			select {
			case <-ended:
				busy--
			default:
				counted = true
			}
		}
		if free := q.gate.room(q.config.Workers - busy); look && free > 0 && ctx.Err() == nil {
			claimed := q.claim(ctx, free)
			q.gate.began(claimed)
			look = len(claimed) == free // there may be more
			for _, r := range claimed {
				busy++
				go func() {
					defer func() {
						q.gate.ended(r.id)
						ended <- struct{}{}
					}()
					q.process(calls, r)
				}()
			}
			continue
		}
		select {
		case <-ctx.Done():
			q.finishInFlight(busy, ended, abandon)
			return nil
		case <-ended:
			busy--
		case <-q.wake:
			look = true
		case <-tick.C:
			look = q.release(ctx) || look || q.due(ctx) // while calls are delayed, a pending look is kept
		}
	}
}

// finishInFlight waits for the calls in flight. After the time limit it cancels
// them and waits a last second while they are requeued.
func (q *Queue[P, R]) finishInFlight(busy int, ended <-chan struct{}, abandon func()) {
	bound := time.NewTimer(q.drain)
	defer bound.Stop()
	abandoned := false
	for busy > 0 {
		select {
		case <-ended:
			busy--
		case <-bound.C:
			if abandoned {
				q.log().Warn("calls were left behind; they are made again when their leases end", "calls", busy)
				return
			}
			abandoned = true
			abandon()
			bound.Reset(time.Second)
		}
	}
}
