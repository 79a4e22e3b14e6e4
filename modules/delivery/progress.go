package delivery

import (
	"context"
	"log/slog"
	"time"

	"millrace/platform/bus"
	"millrace/platform/errs"
)

// progress stands in for a warehouse and a carrier: it ships what is prepared
// and delivers what is shipped, one transaction for each step, until ctx is
// done. Any number of processes may do it at once.
type progress struct {
	service *service
	rest    time.Duration // how long a delivery stays in each state
	wake    chan struct{}
}

// fallback is how often it looks for what no wake-up told: what an earlier
// process left behind, or what has rested.
const fallback = time.Second

func (p *progress) run(ctx context.Context) error {
	every := fallback
	if p.rest > 0 {
		every = min(every, max(p.rest, 10*time.Millisecond))
	}
	look := time.NewTicker(every)
	defer look.Stop()
	for {
		for more := true; more && ctx.Err() == nil; {
			more = p.step(ctx)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-p.wake:
		case <-look.C:
		}
	}
}

// step moves one delivery on, and tells whether to go on at once. It is not
// cancelled with ctx: what is in flight is finished.
func (p *progress) step(ctx context.Context) (more bool) {
	const patience = 10 * time.Second // should the database neither answer nor refuse
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	err := p.service.db.InTx(ctx, func(tx *bus.Tx) error {
		d, found, err := lockMoving(ctx, tx, p.rest)
		if err != nil || !found {
			return err
		}
		more = true
		next := ship
		if d.State == shipped {
			next = deliver
		}
		return p.service.progress(ctx, tx, &d, next)
	})
	if err != nil {
		slog.WarnContext(ctx, "a delivery could not be moved on; trying again", "module", "delivery", "kind", errs.KindOf(err).String(), "error", err)
		return false
	}
	return more
}
