package outbound

import (
	"errors"
	"sync"
	"time"

	"github.com/google/uuid"

	"millrace/platform/errs"
	"millrace/platform/redact"
)

// Delay is an error of a Do that affects every call of its queue, not
// only the one that returned it: the outside system is unreachable, or refuses
// our account. See the package comment.
type Delay struct {
	Err     error         // the cause
	Fix     string        // what an operator must do
	Longest time.Duration // the longest pause between two probes, or of a call that waits alone; 0 means 20 s
}

func (e *Delay) Error() string {
	if e.Fix == "" {
		return e.Err.Error()
	}
	return e.Err.Error() + "; " + e.Fix
}

// Unwrap returns the cause.
func (e *Delay) Unwrap() error { return e.Err }

// NotMade returns the error of a Do that failed at our own database before it
// made its call. If the failure may pass by itself (no connection, a lock, a
// slow statement), that is a Delay, which uses up no attempt; else it is err.
func NotMade(err error) error {
	switch errs.KindOf(err) {
	case errs.Resource, errs.Contention, errs.Timeout, errs.Shutdown:
		return &Delay{Err: err}
	default:
		return err
	}
}

const defaultLongest = 20 * time.Second

// Delayed is the error of a queue whose calls are delayed.
type Delayed struct {
	cause *Delay
	since time.Time
}

func (e *Delayed) Error() string { return "calls are delayed: " + redact.Error(e.cause) }

// Unwrap returns the Delay.
func (e *Delayed) Unwrap() error { return e.cause }

// Since returns when the delay started.
func (e *Delayed) Since() time.Time { return e.since }

// Public returns the cause and what to do about it, which may be shown to
// anybody.
func (e *Delayed) Public() string { return redact.Error(e.cause) }

// Delayed returns a *Delayed while calls are delayed, else nil.
func (q *Queue[P, R]) Delayed() error {
	q.gate.mu.Lock()
	defer q.gate.mu.Unlock()
	if q.gate.cause == nil {
		return nil
	}
	return &Delayed{q.gate.cause, q.gate.since}
}

// gate is the circuit breaker of a queue in this process. While it is
// closed, it admits one call at a time as a probe.
type gate struct {
	first time.Duration // the first pause; each further one doubles

	mu     sync.Mutex
	cause  *Delay // nil: calls are made
	since  time.Time
	pause  time.Duration
	until  time.Time // earliest start of the next probe
	probe  uuid.UUID // the probe in flight, or Nil
	denied map[uuid.UUID]bool
	// alone are the calls that returned a Delay although a later call of
	// another call did not. If one of them returns a Delay again, only that
	// call waits: a misinterpreted answer must not delay the others again and
	// again.
	alone map[uuid.UUID]bool
}

const mostAlone = 10_000 // beyond that, alone is cleared, at the cost of further delays

// room returns how many of the free workers may start a call.
func (g *gate) room(free int) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.cause == nil:
		return free
	case g.probe != uuid.Nil || time.Now().Before(g.until):
		return 0
	}
	return min(free, 1)
}

// began records the probe, if the gate is closed and one call was claimed.
func (g *gate) began(claimed []row) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cause != nil && len(claimed) == 1 {
		g.probe = claimed[0].id
	}
}

// ended records that a call ended, whatever its result.
func (g *gate) ended(id uuid.UUID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.probe == id {
		g.probe = uuid.Nil
	}
}

// delayed is who waits after a call's result.
type delayed int

const (
	notDelayed   delayed = iota
	withOthers           // all wait for the next probe
	firstOfAll           // likewise, and this call closed the gate
	withoutOther         // only this call waits
)

// note processes a call's result. For a Delay it returns who waits, and the
// time until the next probe, or the longest time that this call alone waits. Otherwise it opens the gate if the call was the
// probe, and returns how long the gate was closed.
func (g *gate) note(id uuid.UUID, err error) (who delayed, wait, wasClosed time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var delay *Delay
	if !errors.As(err, &delay) {
		delete(g.alone, id)
		if g.cause == nil || g.probe != id {
			return notDelayed, 0, 0
		}
		delete(g.denied, id)
		if len(g.alone)+len(g.denied) > mostAlone {
			clear(g.alone)
		}
		for other := range g.denied {
			g.alone[other] = true
		}
		clear(g.denied)
		wasClosed = time.Since(g.since)
		g.cause = nil
		return notDelayed, 0, wasClosed
	}
	longest := delay.Longest
	if longest <= 0 {
		longest = defaultLongest
	}
	switch {
	case g.cause == nil && g.alone[id]:
		return withoutOther, longest, 0
	case g.cause == nil:
		who, g.since, g.pause = firstOfAll, time.Now(), min(g.first, longest)
	case g.probe == id:
		who, g.pause = withOthers, min(2*g.pause, longest)
	default: // it started before the gate was closed
		g.denied[id] = true
		return withOthers, 0, 0
	}
	g.cause, g.until = delay, time.Now().Add(g.pause)
	g.denied[id] = true
	return who, g.pause, 0
}
