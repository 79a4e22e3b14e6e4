package delivery

import (
	"context"
	"log/slog"
	"time"

	"millrace/platform/bus"
	"millrace/platform/errs"
)

// progress replaces a warehouse and a carrier: it ships prepared deliveries and
// delivers shipped ones, one transaction per step, until ctx is done. Several
// processes may run it concurrently.
type progress struct {
	service *service
	rest    time.Duration // how long a delivery stays in each state
	wake    chan struct{}
}

// fallback is the longest interval between looks for deliveries without a wake-up:
// those of an earlier process, and those whose rest is over.
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

// step ships or delivers one delivery. It reports whether there may be more. A
// step in progress is completed after ctx ends.
func (p *progress) step(ctx context.Context) (more bool) {
	const patience = 10 * time.Second // limits a step if the database does not respond
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
