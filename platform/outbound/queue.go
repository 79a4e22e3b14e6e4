package outbound

import (
	"cmp"
	"context"
	"embed"
	"encoding/json"
	"io/fs"
	"time"

	"github.com/google/uuid"

	"millrace/platform/bus"
	"millrace/platform/correlation"
	"millrace/platform/errs"
	"millrace/platform/failpoint"
)

// Call is a recorded call to an outside system.
type Call[P any] struct {
	ID          uuid.UUID // also the idempotency key: the same for every attempt
	Key         string    // what it is about, such as an order key
	Payload     P
	Attempt     int    // 1 for the first attempt
	Correlation string // correlation ID
}

// Outcome is the final result of a call.
type Outcome[R any] struct {
	Result   R
	Err      error // nil if the call succeeded; else the final failure: no success was seen
	Attempts int   // number of attempts made
}

// Config describes one kind of call: how to make it, and how to record its
// result.
type Config[P, R any] struct {
	// Name is the kind of call, such as "charge". It distinguishes the queues
	// of one module. It is stored in each row, so it must never change.
	Name string
	// Do makes the call to the outside system. No transaction is open. It must
	// end when ctx does, after Timeout. ctx carries the correlation ID.
	Do func(ctx context.Context, call Call[P]) (R, error)
	// OnComplete records the final result in the transaction that also
	// completes the call. It may publish and send. Its time limit is ten
	// seconds.
	OnComplete func(ctx context.Context, tx *bus.Tx, call Call[P], out Outcome[R]) error
	// OnWait records that an attempt failed with err and that the call waits
	// for the next one, in the transaction that requeues it. attempts is the
	// number of counted attempts. It may be nil.
	OnWait func(ctx context.Context, tx *bus.Tx, call Call[P], attempts int, err error) error

	Timeout     time.Duration   // of one attempt; 0 means 5 s
	MaxAttempts int             // attempts before the call fails; 0 means 8
	Backoff     []time.Duration // before attempt 2, 3, …; the last one repeats; nil means 100 ms … 10 s
	Workers     int             // concurrent calls in this process; 0 means 4
	DelayFirst  time.Duration   // pause between a Delay and the first probe; it doubles; 0 means 1 s
}

// Queue records calls of one kind and makes them. New creates it. It may be
// used concurrently.
type Queue[P, R any] struct {
	*leases
	config Config[P, R]
	drain  time.Duration // time limit for calls in flight at shutdown
	wake   chan struct{}
	gate   gate
}

// New creates a queue; it does nothing before Run. db may be nil if neither
// Record nor Run is called. It panics if Name, Do or OnComplete is missing.
func New[P, R any](db *bus.DB, config Config[P, R]) *Queue[P, R] {
	if config.Name == "" || config.Do == nil || config.OnComplete == nil {
		panic("outbound: a Config needs a Name, a Do and an OnComplete")
	}
	if config.Timeout <= 0 {
		config.Timeout = 5 * time.Second
	}
	if config.MaxAttempts <= 0 {
		config.MaxAttempts = 8
	}
	if len(config.Backoff) == 0 {
		config.Backoff = []time.Duration{
			100 * time.Millisecond, 300 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second,
		}
	}
	if config.Workers <= 0 {
		config.Workers = 4
	}
	if config.DelayFirst <= 0 {
		config.DelayFirst = time.Second
	}
	return &Queue[P, R]{
		leases: &leases{
			db: db, name: config.Name, lease: config.Timeout + 5*time.Second, poll: time.Second, maxFaults: 3,
		},
		config: config, drain: config.Timeout + 3*time.Second, wake: make(chan struct{}, 1),
		gate: gate{first: config.DelayFirst, denied: map[uuid.UUID]bool{}, alone: map[uuid.UUID]bool{}},
	}
}

// Record records a call in the caller's transaction and returns its ID; it is
// made after the commit. key must not be empty. The payload is stored
// as JSON, of at most the size of a message (bus.MaxPayload).
func (q *Queue[P, R]) Record(ctx context.Context, tx *bus.Tx, key string, payload P) (uuid.UUID, error) {
	return q.RecordAfter(ctx, tx, 0, key, payload)
}

// RecordAfter is Record with a delay: the first attempt is made no earlier
// than wait after the start of the transaction.
func (q *Queue[P, R]) RecordAfter(ctx context.Context, tx *bus.Tx, wait time.Duration, key string, payload P) (uuid.UUID, error) {
	if key == "" {
		return uuid.Nil, errs.New(errs.Invalid, "outbound call %s: the key is empty", q.config.Name)
	}
	body, err := json.Marshal(payload)
	if err != nil {
		return uuid.Nil, errs.New(errs.Invalid, "outbound call %s: encode: %w", q.config.Name, err)
	}
	if len(body) > bus.MaxPayload {
		return uuid.Nil, errs.New(errs.TooLarge, "outbound call %s: payload is %d bytes, the limit is %d", q.config.Name, len(body), bus.MaxPayload)
	}
	id, err := uuid.NewV7()
	if err != nil {
		return uuid.Nil, err
	}
	correlationID := cmp.Or(tx.Cause().Correlation, correlation.From(ctx))
	if err := insert(ctx, tx, row{id: id, key: key, payload: body, correlation: correlationID}, q.config.Name, wait); err != nil {
		return uuid.Nil, err
	}
	failpoint.Here("outbound.recorded")
	tx.AfterCommit(q.look)
	return id, nil
}

// look wakes Run. Calls before Run looks have the effect of one.
func (q *Queue[P, R]) look() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// backoff returns the pause after the given number of calls.
func (q *Queue[P, R]) backoff(attempts int) time.Duration {
	i := min(max(attempts, 1), len(q.config.Backoff)) - 1
	return q.config.Backoff[i]
}

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations returns the migrations of the table `outbound_calls`, for every module's
// schema.
func Migrations() fs.FS {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // impossible: the folder is embedded above
	}
	return files
}
