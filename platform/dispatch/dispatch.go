package dispatch

import (
	"context"
	"embed"
	"encoding/json"
	"io/fs"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"millrace/platform/bus"
	"millrace/platform/errs"
	"millrace/platform/failpoint"
)

// Intent is a recorded call to an outside system.
type Intent[P any] struct {
	ID          uuid.UUID // also the idempotency key: the same for every attempt
	Key         string    // what it is about, such as an order key
	Payload     P
	Attempt     int    // 1 for the first call
	Correlation string // correlation ID
}

// Outcome is the final result of an intent.
type Outcome[R any] struct {
	Result   R
	Err      error // nil for done; else the final failure: no success was seen
	Attempts int   // number of calls made
}

// Outside describes one kind of intent: the call, and how to record its result.
type Outside[P, R any] struct {
	// Name is the kind of intent, such as "charge". It distinguishes the
	// dispatchers of one module. It is stored in each row, so it must never
	// change.
	Name string
	// Call calls the outside system. No transaction is open. It must end when
	// ctx does, after Timeout. ctx carries the correlation ID.
	Call func(ctx context.Context, in Intent[P]) (R, error)
	// Settle records the final result in the transaction that also finishes the
	// intent. It may publish and send. Its time limit is ten seconds.
	Settle func(ctx context.Context, tx *bus.Tx, in Intent[P], out Outcome[R]) error
	// OnWait records that the call failed with err and waits for its next
	// attempt, in the transaction that requeues it. attempts is the number of
	// counted attempts. It may be nil.
	OnWait func(ctx context.Context, tx *bus.Tx, in Intent[P], attempts int, err error) error

	Timeout     time.Duration   // of one call; 0 means 5 s
	MaxAttempts int             // calls before the intent fails; 0 means 8
	Backoff     []time.Duration // before attempt 2, 3, …; the last one repeats; nil means 100 ms … 10 s
	Workers     int             // concurrent calls in this process; 0 means 4
	DelayFirst  time.Duration   // pause between a Delay and the first probe; it doubles; 0 means 1 s
}

// Dispatcher records intents of one kind and makes their calls. New creates it.
// It may be used concurrently.
type Dispatcher[P, R any] struct {
	db      *bus.DB
	out     Outside[P, R]
	lease   time.Duration // longer than Timeout, or two workers could call at the same time
	drain   time.Duration // time limit for calls in flight at shutdown
	poll    time.Duration // interval of the poll that finds intents without a wake-up
	settles int           // attempts of a Settle that fails for a reason of its own
	wake    chan struct{}
	gate    gate

	recording sync.Map    // id → true: its result waits in this process to be recorded
	away      atomic.Bool // the last claim or poll failed
}

// New creates a dispatcher; it does nothing before Run. db may be nil if
// neither Record nor Run is called. It panics if Name, Call or Settle is
// missing.
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
	if out.DelayFirst <= 0 {
		out.DelayFirst = time.Second
	}
	return &Dispatcher[P, R]{
		db: db, out: out,
		lease: out.Timeout + 5*time.Second, drain: out.Timeout + 3*time.Second,
		poll: time.Second, settles: 3,
		wake: make(chan struct{}, 1),
		gate: gate{first: out.DelayFirst, denied: map[uuid.UUID]bool{}, alone: map[uuid.UUID]bool{}},
	}
}

// Record records an intent in the caller's transaction and returns its ID; the
// call is made after the commit. key must not be empty. The payload is stored
// as JSON, of at most the size of a message (bus.MaxPayload).
func (d *Dispatcher[P, R]) Record(ctx context.Context, tx *bus.Tx, key string, payload P) (uuid.UUID, error) {
	return d.RecordAfter(ctx, tx, 0, key, payload)
}

// RecordAfter is Record with a delay: the first call is made no earlier than
// wait after the start of the transaction.
func (d *Dispatcher[P, R]) RecordAfter(ctx context.Context, tx *bus.Tx, wait time.Duration, key string, payload P) (uuid.UUID, error) {
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
	if err := insert(ctx, tx, row{id: id, key: key, payload: body, correlation: correlation}, d.out.Name, wait); err != nil {
		return uuid.Nil, err
	}
	failpoint.Here("dispatch.recorded")
	tx.AfterCommit(d.look)
	return id, nil
}

// look wakes Run. Calls before Run looks have the effect of one.
func (d *Dispatcher[P, R]) look() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// log gets the logger at each use, because the program sets it after New.
func (d *Dispatcher[P, R]) log() *slog.Logger { return slog.Default().With("dispatch", d.out.Name) }

// backoff returns the pause after the given number of calls.
func (d *Dispatcher[P, R]) backoff(attempts int) time.Duration {
	i := min(max(attempts, 1), len(d.out.Backoff)) - 1
	return d.out.Backoff[i]
}

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations returns the migrations of the table `dispatch`, for every module's
// schema.
func Migrations() fs.FS {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // impossible: the folder is embedded above
	}
	return files
}
