package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/lib/pq"

	"millrace/platform/errs"
)

const (
	slowStatement = time.Second     // after this time we ask whether the statement waits for a lock
	lookTimeout   = 2 * time.Second // the limit for the query, which may need a new connection
)

// watch finds out whether a statement of one connection waits for a lock: it asks on another
// connection which process blocks this connection's server process. It asks when a
// statement has taken slowStatement, so that an error can name the holder, and when the
// context's deadline passes, before the statement is cancelled, because a statement that
// waits for a lock is blocked, not slow.
//
// Short statements cause no query. One connection of a pool asks at a time.
type watch struct {
	from      *connector
	pid       int64
	timer     *time.Timer
	statement atomic.Int64           // counts statements, so that a late answer is not used for the next statement
	holder    atomic.Pointer[string] // who held the lock of the current statement at the last query; nil: nobody
}

func newWatch(from *connector, pid int64) *watch {
	w := &watch{from: from, pid: pid}
	w.timer = time.AfterFunc(time.Hour, func() { w.look() })
	w.timer.Stop()
	return w
}

// begin must be called before each statement, and end after it.
func (w *watch) begin() {
	w.statement.Add(1)
	if w.holder.Load() != nil {
		w.holder.Store(nil)
	}
	w.timer.Reset(slowStatement)
}

func (w *watch) end() { w.timer.Stop() }

// look asks who holds the lock that the current statement waits for. If there is no answer
// in time, it assumes that there is no holder.
func (w *watch) look() {
	statement := w.statement.Load()
	ctx, cancel := context.WithTimeout(context.Background(), lookTimeout)
	defer cancel()
	select {
	case w.from.looking <- struct{}{}:
		defer func() { <-w.from.looking }()
	case <-ctx.Done():
		return
	}
	holder, err := w.from.holderOf(ctx, w.pid)
	if err != nil || w.statement.Load() != statement {
		return
	}
	w.holder.Store(holder)
}

// holderOf describes which process blocks a server process; nil if none does. The query
// needs no special rights.
func (c *connector) holderOf(ctx context.Context, pid int64) (*string, error) {
	raw, err := c.raw(ctx)
	if err != nil {
		return nil, err
	}
	defer raw.Close() //nolint:errcheck // the connection is not used again
	row, err := ask(ctx, raw, fmt.Sprintf(`
		SELECT (SELECT string_agg(concat(b, ' (role ' || quote_ident(usename) || '; SELECT pg_terminate_backend(' || b || ') ends it)'), ', ')
				FROM unnest(blockers) AS b LEFT JOIN pg_stat_activity a ON a.pid = b), coalesce((
			SELECT mode || ' on ' || coalesce(relation::regclass::text, locktype)
			FROM pg_locks WHERE pid = %[1]d AND NOT granted LIMIT 1), 'a lock')
		FROM pg_blocking_pids(%[1]d) AS blockers WHERE cardinality(blockers) > 0`, pid), 2)
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	holder := fmt.Sprintf("waited for %s, blocked by process %s", row[1], row[0])
	return &holder, nil
}

// cancelLater is a context that ends shortly after its parent: when watch knows whether the
// statement waits for a lock.
type cancelLater struct {
	context.Context
	done chan struct{}
}

func (c cancelLater) Done() <-chan struct{} { return c.done }

func (c cancelLater) Err() error {
	select {
	case <-c.done:
		return c.Context.Err()
	default:
		return nil
	}
}

// until returns the context to pass to lib/pq instead of ctx. The caller must call stop
// afterwards.
func (w *watch) until(ctx context.Context) (_ context.Context, stop func()) {
	if ctx.Done() == nil {
		return ctx, func() {}
	}
	later := cancelLater{ctx, make(chan struct{})}
	unregister := context.AfterFunc(ctx, func() {
		defer close(later.done)
		if errors.Is(context.Cause(ctx), context.DeadlineExceeded) { // not if the caller cancelled
			w.look()
		}
	})
	return later, func() { unregister() }
}

// explain adds the holder to the error of a statement that waited for a lock. If our own
// deadline or statement_timeout ended the wait, the error becomes errs.ErrLocked. Any other
// error is returned unchanged.
func (w *watch) explain(ctx context.Context, err error) error {
	holder := w.holder.Load()
	if holder == nil {
		return err
	}
	var pg *pq.Error
	cancelled := errors.As(err, &pg) && pg.Code == queryCancelled
	switch {
	case cancelled && errors.Is(context.Cause(ctx), context.Canceled):
		return err // the caller cancelled
	case cancelled && ctx.Err() != nil:
		return errs.New(errs.Resource, "%w: %s: %w", errs.ErrLocked, *holder, ctx.Err())
	case cancelled:
		return errs.New(errs.Resource, "%w: %s: %w", errs.ErrLocked, *holder, err)
	case errs.Locked(err):
		return fmt.Errorf("%w (%s)", err, *holder)
	}
	return err
}
