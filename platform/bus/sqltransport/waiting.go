package sqltransport

import (
	"context"
	"errors"
	"time"

	"millrace/platform/errs"
)

const (
	firstStartRetry   = 100 * time.Millisecond
	longestStartRetry = 2 * time.Second
)

// retryStart repeats a step of the start for as long as the environment holds it
// up with a fault that passes by itself: a lock that a migration or an operator
// holds, a server that is full or that fails over. The process waits, as its
// subscriptions do later, instead of ending. Each failed attempt is logged with
// what is at fault. Any other error ends the start.
func (t *Transport) retryStart(ctx context.Context, step string, do func(context.Context) error) error {
	for pause := firstStartRetry; ; pause = min(2*pause, longestStartRetry) {
		err := do(ctx)
		var switched switchedError
		if errs.KindOf(err).Reaction() != errs.Pause || errs.Help(err) != "" || errors.As(err, &switched) {
			return err
		}
		t.cfg.Logger.Warn("start waits for the database", "step", step, "error", err.Error(), "retry_in", pause.String())
		select {
		case <-ctx.Done():
			return errs.As(errs.Shutdown, ctx.Err())
		case <-time.After(pause):
		}
	}
}
