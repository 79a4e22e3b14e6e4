package dispatch

import (
	"context"
	"time"

	"millrace/platform/errs"
	"millrace/platform/failpoint"
)

// patience bounds each of our own transactions here, should the database
// neither answer nor refuse.
const patience = 10 * time.Second

// Run claims intents and carries them out until ctx is done; then it finishes
// what is in flight, as the package comment says, and returns nil. It may run
// in several processes at once. A database that is away is logged and waited for.
func (d *Dispatcher[P, R]) Run(ctx context.Context) error {
	calls, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()
	tick := time.NewTicker(d.poll)
	defer tick.Stop()

	// One goroutine per call: one that ends oddly (runtime.Goexit) costs its
	// lease and no worker. Only this loop counts them.
	ended := make(chan struct{}, d.out.Workers)
	busy := 0
	look := true // for what an earlier process left
	for {
		for counted := false; !counted; { // all that ended meanwhile, so that one claim replaces them
			select {
			case <-ended:
				busy--
			default:
				counted = true
			}
		}
		if free := d.out.Workers - busy; look && free > 0 && ctx.Err() == nil {
			claimed := d.claim(ctx, free)
			look = len(claimed) == free // perhaps there are more
			for _, r := range claimed {
				busy++
				go func() {
					defer func() { ended <- struct{}{} }()
					d.carryOut(calls, r)
				}()
			}
			continue
		}
		select {
		case <-ctx.Done():
			d.finishInFlight(busy, ended, abandon)
			return nil
		case <-ended:
			busy--
		case <-d.wake:
			look = true
		case <-tick.C:
			look = look || d.due(ctx)
		}
	}
}

// claim returns nothing when the database is away: the next tick tries again.
// It is not cancelled with ctx: a claim that committed unseen would wait for
// its lease to end.
func (d *Dispatcher[P, R]) claim(ctx context.Context, limit int) []row {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	claimed, err := claim(ctx, d.db, d.out.Name, limit, d.lease)
	if err != nil {
		d.log().Warn("cannot claim; trying again", "error", err, "kind", errs.KindOf(err))
	}
	if len(claimed) > 0 {
		failpoint.Here("dispatch.claimed")
	}
	return claimed
}

func (d *Dispatcher[P, R]) due(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	found, err := due(ctx, d.db, d.out.Name)
	if err != nil {
		d.log().Warn("cannot look for work; trying again", "error", err, "kind", errs.KindOf(err))
	}
	return found
}

// finishInFlight waits for the calls in flight; after the bound it cancels
// them and gives them a last second to be given back.
func (d *Dispatcher[P, R]) finishInFlight(busy int, ended <-chan struct{}, abandon func()) {
	bound := time.NewTimer(d.drain)
	defer bound.Stop()
	abandoned := false
	for busy > 0 {
		select {
		case <-ended:
			busy--
		case <-bound.C:
			if abandoned {
				d.log().Warn("calls were left behind; they are made again when their leases end", "calls", busy)
				return
			}
			abandoned = true
			abandon()
			bound.Reset(time.Second)
		}
	}
}
