package outbound

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"millrace/platform/bus"
	"millrace/platform/errs"
	"millrace/platform/failpoint"
	"millrace/platform/redact"
)

// leases claims the calls of one kind for this process, keeps their leases and
// records what follows.
type leases struct {
	db        *bus.DB
	name      string        // Config.Name
	lease     time.Duration // longer than Timeout, or two workers could call at the same time
	poll      time.Duration // interval of the poll that finds calls without a wake-up
	maxFaults int           // attempts of an OnComplete that fails for a reason of its own

	recording sync.Map    // id → true: its result waits in this process to be recorded
	away      atomic.Bool // the last claim or poll failed
	lost      lostClaims
}

// log gets the logger at each use, because the program sets it after New.
func (l *leases) log() *slog.Logger { return slog.Default().With("call", l.name) }

// patience is the time limit of each transaction here, in case the database
// does not respond.
const patience = 10 * time.Second

// claim returns nothing if the database is unavailable; the next tick tries
// again. It is not cancelled with ctx, because a claim that is committed
// without our knowledge delays its calls until release finds them.
func (l *leases) claim(ctx context.Context, limit int) []row {
	l.release(ctx) // first, because an expired lease of a lost claim would be claimed and counted again
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	recording := []string{}
	l.recording.Range(func(id, _ any) bool {
		recording = append(recording, id.(uuid.UUID).String())
		return true
	})
	claimed, err := claim(ctx, l.db, l.name, limit, l.lease, recording)
	l.note(err)
	if err != nil {
		l.lost.add(claimed)
		return nil
	}
	if len(claimed) > 0 {
		failpoint.Here("outbound.claimed")
	}
	return claimed
}

func (l *leases) due(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	found, err := due(ctx, l.db, l.name)
	l.note(err)
	return found
}

// note logs when the database becomes unavailable, and when it is available
// again.
func (l *leases) note(err error) {
	switch was := l.away.Swap(err != nil); {
	case err != nil && !was:
		l.log().Warn("cannot look for calls; trying again", "error", redact.Error(err), "kind", errs.KindOf(err))
	case err == nil && was:
		l.log().Info("looking for calls again")
	}
}

// lostClaims are claimed calls whose claim's COMMIT returned an error. It may
// have been committed, now or a moment later, with only its reply lost. Only the
// goroutine of Run uses it.
type lostClaims struct {
	calls []lostCall
	next  time.Time // earliest next release
}

type lostCall struct {
	row
	until time.Time // from then on its claim can no longer be committed
}

const (
	lostFor  = 40 * time.Second // longer than the server works on a statement
	mostLost = 10_000           // beyond that, the oldest are left to the end of their leases
)

func (l *lostClaims) add(claimed []row) {
	for _, r := range claimed {
		l.calls = append(l.calls, lostCall{r, time.Now().Add(lostFor)})
	}
	l.calls = l.calls[max(0, len(l.calls)-mostLost):]
}

// release makes the calls of lost claims due again without counting the attempt,
// at most once per poll. It reports whether there were any.
func (l *leases) release(ctx context.Context) bool {
	if len(l.lost.calls) == 0 || time.Now().Before(l.lost.next) {
		return false
	}
	begun := time.Now()
	l.lost.next = begun.Add(l.poll)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	released, err := release(ctx, l.db, l.lost.calls)
	l.note(err)
	if err != nil {
		return false
	}
	l.lost.calls = slices.DeleteFunc(l.lost.calls, func(c lostCall) bool { return c.until.Before(begun) })
	if released > 0 {
		l.log().Info("calls requeued: the reply to their claim was lost", "calls", released)
	}
	return released > 0
}
