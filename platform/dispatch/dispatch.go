package dispatch

import (
	"context"
	"embed"
	"encoding/json"
	"io/fs"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"millrace/platform/bus"
	"millrace/platform/errs"
	"millrace/platform/failpoint"
)

// Intent is something to be done outside.
type Intent[P any] struct {
	ID          uuid.UUID // also the idempotency key: the same for every call
	Key         string    // what it is about, as an order key
	Payload     P
	Attempt     int    // 1 for the first call
	Correlation string // the conversation it belongs to
}

// Outcome is how an intent ended.
type Outcome[R any] struct {
	Result   R
	Err      error // nil: done. Otherwise the final failure: no success was seen
	Attempts int   // how many calls were made
}

// Outside describes one kind of intent: how to call, and what to record.
type Outside[P, R any] struct {
	// Name is the kind of intent, as "charge"; stored in the row, for ever.
	// Dispatchers of one module differ by it.
	Name string
	// Call talks to the outside. No transaction is open. ctx ends after
	// Timeout and must be obeyed; it carries the correlation.
	Call func(ctx context.Context, in Intent[P]) (R, error)
	// Settle records the final result in the transaction that also finishes
	// the intent. It may publish and send. It has ten seconds.
	Settle func(ctx context.Context, tx *bus.Tx, in Intent[P], out Outcome[R]) error

	Timeout     time.Duration   // of one call; 0 means 5 s
	MaxAttempts int             // calls before it is a failure; 0 means 8
	Backoff     []time.Duration // before the 2nd, 3rd … call, the last one repeats; nil means 100 ms … 10 s
	Workers     int             // calls at the same time in this process; 0 means 4
}

// Dispatcher records intents of one kind and carries them out. It is made by
// New and is for concurrent use.
type Dispatcher[P, R any] struct {
	db      *bus.DB
	out     Outside[P, R]
	lease   time.Duration // longer than Timeout, or two workers would call at once
	drain   time.Duration // what calls in flight get at shutdown
	poll    time.Duration // the fallback, for what no wake-up told
	settles int           // tries of a Settle that fails by its own fault
	wake    chan struct{}
}

// New makes a dispatcher; it does nothing before Run. db may be nil if neither
// Record nor Run is called. It panics when Name, Call or Settle is missing.
func New[P, R any](db *bus.DB, out Outside[P, R]) *Dispatcher[P, R] {
	if out.Name == "" || out.Call == nil || out.Settle == nil {
		panic("dispatch: an Outside needs a Name, a Call and a Settle")
	}
	if out.Timeout <= 0 {
		out.Timeout = 5 * time.Second
	}
	if out.MaxAttempts <= 0 {
		out.MaxAttempts = 8
	}
	if len(out.Backoff) == 0 {
		out.Backoff = []time.Duration{
			100 * time.Millisecond, 300 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second,
		}
	}
	if out.Workers <= 0 {
		out.Workers = 4
	}
	return &Dispatcher[P, R]{
		db: db, out: out,
		lease: out.Timeout + 5*time.Second, drain: out.Timeout + 3*time.Second,
		poll: time.Second, settles: 3,
		wake: make(chan struct{}, 1),
	}
}

// Record notes an intent in the caller's transaction and returns its ID; the
// call is made after the commit. key must not be empty. The payload is stored
// as JSON, at most as long as a message (bus.MaxPayload).
func (d *Dispatcher[P, R]) Record(ctx context.Context, tx *bus.Tx, key string, payload P) (uuid.UUID, error) {
	if key == "" {
		return uuid.Nil, errs.New(errs.Invalid, "dispatch %s: the key is empty", d.out.Name)
	}
	body, err := json.Marshal(payload)
	if err != nil {
		return uuid.Nil, errs.New(errs.Invalid, "dispatch %s: encode: %w", d.out.Name, err)
	}
	if len(body) > bus.MaxPayload {
		return uuid.Nil, errs.New(errs.TooLarge, "dispatch %s: payload is %d bytes, the limit is %d", d.out.Name, len(body), bus.MaxPayload)
	}
	id, err := uuid.NewV7()
	if err != nil {
		return uuid.Nil, err
	}
	correlation := tx.Cause().Correlation
	if correlation == "" {
		correlation = bus.CorrelationFrom(ctx)
	}
	if err := insert(ctx, tx, row{id: id, key: key, payload: body, correlation: correlation}, d.out.Name); err != nil {
		return uuid.Nil, err
	}
	failpoint.Here("dispatch.recorded")
	tx.AfterCommit(d.look)
	return id, nil
}

// look wakes Run; many calls before it looks are one.
func (d *Dispatcher[P, R]) look() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// log is asked for at each use: the program sets its logger after New.
func (d *Dispatcher[P, R]) log() *slog.Logger { return slog.Default().With("dispatch", d.out.Name) }

// backoff is the pause after the given number of calls.
func (d *Dispatcher[P, R]) backoff(attempts int) time.Duration {
	i := min(max(attempts, 1), len(d.out.Backoff)) - 1
	return d.out.Backoff[i]
}

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations returns the table `dispatch`, for every module's schema.
func Migrations() fs.FS {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // the folder is embedded above
	}
	return files
}
