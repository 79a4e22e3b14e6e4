package sqltransport

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"millrace/platform/bus/store"
	"millrace/platform/errs"
)

const (
	firstStartRetry   = 100 * time.Millisecond
	longestStartRetry = 2 * time.Second
)

// startup repeats a step of the start for as long as the environment prevents it by a fault
// that passes by itself: a lock that a migration or an operator holds, a server that is full or
// that fails over. The process waits, as its subscriptions do later, instead of ending. Each
// failed attempt is logged. Any other error ends the start.
type startup struct{ log *slog.Logger }

func (s startup) retry(ctx context.Context, step string, do func(context.Context) error) error {
	for pause := firstStartRetry; ; pause = min(2*pause, longestStartRetry) {
		err := do(ctx)
		var switched store.SwitchedError
		if errs.KindOf(err).Reaction() != errs.Pause || errs.Help(err) != "" || errors.As(err, &switched) {
			return err
		}
		s.log.Warn("start waits for the database", "step", step, "error", err.Error(), "retry_in", pause.String())
		select {
		case <-ctx.Done():
			return errs.As(errs.Shutdown, ctx.Err())
		case <-time.After(pause):
		}
	}
}
