package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/lib/pq"

	"millrace/platform/bus/envelope"
	"millrace/platform/bus/internal/delivery"
	"millrace/platform/errs"
	"millrace/platform/redact"
)

// Contention is tried again at once, this often and this far apart. A message
// that has to wait longer is parked: a handler's goroutine holds a transaction
// open and blocks every key of its partition.
const (
	contentionRetries  = 5
	contentionInterval = 20 * time.Millisecond
)

// chain is the one place that orders the router's middleware, outermost first.
// A module's own middleware comes after all of it, inside the transaction.
func chain(log *slog.Logger, limit time.Duration) []message.HandlerMiddleware {
	poison, err := middleware.PoisonQueueWithFilter(parkingPublisher{}, "parked", isParked)
	if err != nil {
		panic(err) // the topic is not empty
	}
	retry := middleware.Retry{
		MaxRetries:          contentionRetries,
		InitialInterval:     contentionInterval,
		MaxInterval:         contentionInterval,
		Multiplier:          1,
		ResetContextOnRetry: true,
		ShouldRetry: func(p middleware.RetryParams) bool {
			return !isRedo(p.Err) && errs.KindOf(p.Err).Reaction() == errs.Again
		},
	}
	return []message.HandlerMiddleware{
		// 1. Telemetry sees every message once, with its final result.
		telemetry(log),
		// 2. The poison queue parks a failed message, in the batch's own
		// transaction. It stands outside Retry, so that it meets only an error
		// that trying again at once did not cure.
		poison,
		// 3. Retry, for contention only. It stands outside the savepoint
		// (7), so that each try starts from a clean one.
		retry.Middleware,
		// 4. The error object is kept for the parked message. In a batch without
		// savepoints it is marked, so that 2 and 3 let it pass and the whole batch
		// is repeated. This stands outside recovery, so that it sees a panic as an
		// error.
		recordFailure,
		// 5. A panic is an error like any other.
		middleware.Recoverer,
		// 6. The time limit. Watermill's own leaves its dead context on the message.
		timeLimit(limit),
		// 7. The savepoint, and the Tx that the handler uses. The innermost: what
		// a handler did is undone before anybody outside decides anything.
		transaction,
	}
}

// telemetry carries the trace on and logs what failed: ids, never payloads.
func telemetry(log *slog.Logger) message.HandlerMiddleware {
	return func(next message.HandlerFunc) message.HandlerFunc {
		return func(msg *message.Message) ([]*message.Message, error) {
			if parent := msg.Metadata.Get(envelope.Traceparent); parent != "" {
				msg.SetContext(withTraceparent(msg.Context(), parent))
			}
			produced, err := next(msg)
			if d := delivery.From(msg.Context()); d != nil && d.Err != nil && d.Isolated {
				handler := message.HandlerNameFromCtx(msg.Context())
				module, _, _ := strings.Cut(handler, "/")
				level := slog.LevelWarn
				if errs.KindOf(d.Err).Reaction() == errs.Pause {
					level = slog.LevelDebug // the transport logs when the subscription pauses, and not each try
				}
				log.Log(msg.Context(), level, "handler failed", "module", module, "subscriber", handler,
					"message_id", msg.UUID, "correlation_id", msg.Metadata.Get(envelope.Correlation), "type", msg.Metadata.Get(envelope.Type),
					"key", msg.Metadata.Get(envelope.Key), "attempt", d.Attempt, "kind", errs.KindOf(d.Err).String(), "error", redact.Error(d.Err))
				if err != nil {
					err = loggedError{err}
				}
			}
			return produced, err
		}
	}
}

// loggedError marks an error that the telemetry middleware has logged.
type loggedError struct{ error }

func (e loggedError) Unwrap() error { return e.error }

// redo is the error of a message in a batch without savepoints. Nothing inside
// the router may act on it: the worker rolls the batch back and repeats it with
// savepoints.
type redo struct{ err error }

func (r *redo) Error() string { return "batch is repeated: " + r.err.Error() }

func isRedo(err error) bool {
	var r *redo
	return errors.As(err, &r)
}

// recordFailure records why the handler failed. It nacks in a defer, since a handler
// that calls runtime.Goexit would leave the message neither acked nor nacked.
// An error that the worker already knows (the message timed out in an earlier
// try of the batch and broke its connection) is returned without calling the handler again.
func recordFailure(next message.HandlerFunc) message.HandlerFunc {
	return func(msg *message.Message) (produced []*message.Message, err error) {
		d := delivery.From(msg.Context())
		if d.Failed != nil {
			d.Err = d.Failed
			return nil, d.Failed
		}
		returned := false
		defer func() {
			if !returned {
				d.Err = errs.New(errs.Unknown, "handler ended its goroutine")
				msg.Nack()
			}
		}()
		produced, err = next(msg)
		returned = true
		if err != nil && errs.KindOf(err) == errs.Shutdown && msg.Context().Err() == nil {
			// The message's context is alive, so this is no shutdown of ours.
			err = errs.New(errs.Unknown, "%s", err.Error())
		}
		var panicked middleware.RecoveredPanicError
		if errors.As(err, &panicked) { // its own text has the value with all its fields
			err = redact.Panic(panicked.V, []byte(panicked.Stacktrace))
		}
		d.Err = err
		if err != nil && !d.Isolated {
			return nil, &redo{err}
		}
		return produced, err
	}
}

// timeLimit gives the handler a deadline and restores the message's context after it.
func timeLimit(limit time.Duration) message.HandlerMiddleware {
	return func(next message.HandlerFunc) message.HandlerFunc {
		return func(msg *message.Message) ([]*message.Message, error) {
			parent := msg.Context()
			ctx, cancel := context.WithTimeout(parent, limit)
			defer cancel()
			msg.SetContext(ctx)
			defer msg.SetContext(parent)
			produced, err := next(msg)
			if err != nil && ctx.Err() != nil && !errs.Locked(err) { // who waits for a lock is not slow
				delivery.From(parent).Late = true
				err = errs.New(errs.Timeout, "handler passed its time limit of %s: %w", limit, err)
			}
			return produced, err
		}
	}
}

// release checks the deferred constraints and ends the savepoint, in one round
// trip. The inner savepoint gives the constraints their deferral back, for the
// handlers that follow in the same batch.
const release = "SAVEPOINT constraints; SET CONSTRAINTS ALL IMMEDIATE; ROLLBACK TO SAVEPOINT constraints; RELEASE SAVEPOINT message"

// transaction puts a savepoint around the handler of an isolated message, and
// takes back what a failed handler wrote and published. Its statements run without the
// handler's deadline: a cancelled statement costs lib/pq its connection.
func transaction(next message.HandlerFunc) message.HandlerFunc {
	return func(msg *message.Message) ([]*message.Message, error) {
		d := delivery.From(msg.Context())
		ctx := context.WithoutCancel(msg.Context())
		if !d.Isolated {
			return next(msg)
		}
		if _, err := d.Tx.ExecContext(ctx, "SAVEPOINT message"); err != nil {
			d.Broken = true
			return nil, errs.As(errs.Resource, fmt.Errorf("savepoint: %w", err))
		}
		messages, commit := d.Out.Mark()
		done := false
		undo := func() error {
			done = true
			d.Out.Rewind(messages, commit)
			_, err := d.Tx.ExecContext(ctx, "ROLLBACK TO SAVEPOINT message")
			return err
		}
		defer func() { // a panic, or Goexit, passes through here
			if !done {
				d.Broken = undo() != nil
			}
		}()
		produced, err := next(msg)
		if err == nil {
			// Deferred constraints are checked now, while it is certain which message
			// breaks them; and an SQL error that the handler ignored is found here.
			if _, err = d.Tx.ExecContext(ctx, release); err == nil {
				done = true
				return produced, nil
			}
			err = fmt.Errorf("after the handler (a deferred constraint, or an SQL error that it swallowed): %w", err)
		}
		undoErr := undo()
		if undoErr == nil {
			err = behind(ctx, d.Tx, err)
		}
		switch kind := errs.KindOf(err); {
		case undoErr != nil && kind != errs.Timeout && errs.KindOf(undoErr) == errs.Resource:
			d.Broken = true
			err = errs.As(errs.Resource, fmt.Errorf("%w (and the connection is unusable: %w)", err, undoErr))
		case undoErr != nil:
			// The connection lives, the transaction does not: the handler left
			// rows open, or ended the transaction. That is its own failure.
			d.Broken = true
			err = fmt.Errorf("%w (and what the handler did could not be undone: %w)", err, undoErr)
		case kind == errs.Resource && !fromDatabase(err):
			// The database is there: what is away is something of the handler's
			// own, an io.EOF of bytes that it decoded perhaps. Waiting for the
			// database would stop the partition without end.
			err = errs.New(errs.Unknown, "%s", err.Error())
		}
		return nil, err
	}
}

// fromDatabase reports whether a Resource error comes from the database (the
// disk is full), or was classified so by our code.
func fromDatabase(err error) bool {
	var named *errs.Error
	var server *pq.Error
	return errors.As(err, &server) || errors.As(err, &named) && named.Kind == errs.Resource
}

// isParked is the poison queue's filter.
func isParked(err error) bool {
	if isRedo(err) {
		return false
	}
	switch errs.KindOf(err).Reaction() {
	case errs.Pause, errs.Leave:
		return false
	}
	return true
}

// parkingPublisher is the poison queue's publisher: it parks the message in the
// transaction that also moves the committed offset.
type parkingPublisher struct{}

func (parkingPublisher) Publish(_ string, messages ...*message.Message) error {
	for _, msg := range messages {
		d := delivery.From(msg.Context())
		if d.Broken {
			return errs.New(errs.Resource, "the transaction is broken; the batch is repeated")
		}
		if err := d.Park(context.WithoutCancel(msg.Context()), d.Err); err != nil {
			return err
		}
	}
	return nil
}

func (parkingPublisher) Close() error { return nil }
