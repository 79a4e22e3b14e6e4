package postgres

import (
	"container/list"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"

	"github.com/lib/pq"
)

// statementsPerConnection limits the prepared statements of one connection. The whole
// program has a few hundred texts, and a connection uses those of one module. A statement
// takes some ten kB of the server's memory.
const statementsPerConnection = 256

const (
	unknownStatement = pq.ErrorCode("26000")
	queryCancelled   = pq.ErrorCode("57014")
)

// pqConn has the methods of lib/pq's connection that this package uses.
type pqConn interface {
	driver.Conn
	driver.ConnPrepareContext
	driver.ConnBeginTx
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
	driver.NamedValueChecker
}

// pqStmt has the methods of lib/pq's prepared statement.
type pqStmt interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

// pqRows has the methods of lib/pq's rows.
type pqRows interface {
	driver.RowsNextResultSet
	driver.RowsColumnTypeScanType
	driver.RowsColumnTypeDatabaseTypeName
	driver.RowsColumnTypeLength
	driver.RowsColumnTypePrecisionScale
}

// conn prepares every text with arguments once, and keeps the statement. It needs no lock,
// because database/sql uses a driver connection from one goroutine at a time.
type conn struct {
	pqConn
	from       *connector
	statements map[string]*list.Element // text → its element in recent
	recent     *list.List               // list of *prepared, the most recently used first
	reading    bool                     // rows are open: another statement would read their bytes
	inTx       bool
	txDone     <-chan struct{} // Done of the context given to BeginTx
	stained    bool            // a context ended during a statement: the connection must not return to the pool
	watch      *watch
}

type prepared struct {
	text string
	stmt pqStmt
}

var errReading = errors.New("postgres: the rows of an earlier query are still open on this connection: close them first")

// ExecContext runs a text without arguments by the simple protocol, which allows several
// statements, and any other text through its prepared statement.
func (c *conn) ExecContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Result, error) {
	if c.reading {
		return nil, errReading
	}
	inner, end := c.begin(ctx)
	defer end()
	if len(args) == 0 {
		result, err := c.pqConn.ExecContext(inner, text, nil)
		if err != nil {
			return nil, c.cancelled(ctx, err)
		}
		return result, nil
	}
	return withStatement(ctx, c, text, func(stmt pqStmt) (driver.Result, error) {
		return stmt.ExecContext(inner, args)
	})
}

// QueryContext is ExecContext for a text that returns rows.
func (c *conn) QueryContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Rows, error) {
	if c.reading {
		return nil, errReading
	}
	var found driver.Rows
	var err error
	inner, end := c.begin(ctx)
	if len(args) == 0 {
		if found, err = c.pqConn.QueryContext(inner, text, nil); err != nil {
			err = c.cancelled(ctx, err)
		}
	} else {
		found, err = withStatement(ctx, c, text, func(stmt pqStmt) (driver.Rows, error) {
			return stmt.QueryContext(inner, args)
		})
	}
	if err != nil {
		end()
		return nil, err
	}
	able, ok := found.(pqRows)
	if !ok {
		end()
		_ = found.Close() // the connection is unusable
		return nil, fmt.Errorf("lib/pq's rows %T lack an interface of database/sql/driver", found)
	}
	c.reading = true
	return &rows{pqRows: able, ctx: ctx, of: c, end: end}, nil
}

// begin must be called before each statement, and end after it. begin returns the context
// for lib/pq, which ends with ctx, see watch. In a transaction that was begun with the
// same context, it returns a context that never ends: lib/pq already watches the
// transaction's context, and would start another goroutine for each statement.
func (c *conn) begin(ctx context.Context) (_ context.Context, end func()) {
	c.watch.begin()
	switch done := ctx.Done(); {
	case done == nil:
		return ctx, c.watch.end
	case c.inTx && done == c.txDone:
		return context.WithoutCancel(ctx), c.watch.end
	}
	inner, stop := c.watch.until(ctx)
	return inner, func() { stop(); c.watch.end() }
}

// withStatement calls use with the prepared statement of text. Outside a transaction, a
// stale statement is prepared again and retried, because it failed before it had any
// effect. In a transaction it cannot be retried: the transaction has failed.
func withStatement[R any](ctx context.Context, c *conn, text string, use func(pqStmt) (R, error)) (R, error) {
	var none R
	if err := ctx.Err(); err != nil {
		return none, err
	}
	_, reused := c.statements[text]
	stmt, err := c.statement(ctx, text)
	if err != nil {
		return none, c.cancelled(ctx, err)
	}
	result, err := use(stmt)
	if err == nil {
		return result, nil
	}
	if reused && c.forgetIfStale(text, err) && !c.inTx {
		if stmt, prepareErr := c.statement(ctx, text); prepareErr == nil {
			if result, againErr := use(stmt); againErr == nil {
				return result, nil
			}
		}
	}
	return none, c.cancelled(ctx, err)
}

// PrepareContext prepares a statement that the caller keeps and closes. COPY needs it.
func (c *conn) PrepareContext(ctx context.Context, text string) (driver.Stmt, error) {
	if c.reading {
		return nil, errReading
	}
	return c.pqConn.PrepareContext(ctx, text)
}

// statement returns the prepared statement of text. It ignores the caller's context,
// because lib/pq would close the connection when that ends; statement_timeout and
// lock_timeout still limit the wait.
func (c *conn) statement(ctx context.Context, text string) (pqStmt, error) {
	if kept, ok := c.statements[text]; ok {
		c.recent.MoveToFront(kept)
		return kept.Value.(*prepared).stmt, nil
	}
	if c.recent.Len() >= statementsPerConnection {
		if err := c.forget(c.recent.Back()); err != nil {
			return nil, err
		}
	}
	made, err := c.PrepareContext(context.WithoutCancel(ctx), text)
	if err != nil {
		return nil, err
	}
	stmt, ok := made.(pqStmt)
	if !ok { // COPY: lib/pq prepares it differently, and it never has arguments
		_ = made.Close() // the connection is unusable
		return nil, fmt.Errorf("postgres: a statement of type %T cannot be kept", made)
	}
	c.statements[text] = c.recent.PushFront(&prepared{text: text, stmt: stmt})
	return stmt, nil
}

func (c *conn) forget(kept *list.Element) error {
	old := kept.Value.(*prepared)
	c.recent.Remove(kept)
	delete(c.statements, old.text)
	return old.stmt.Close()
}

// forgetIfStale drops the statement of text if err shows, or may show, that it is stale:
//
//   - 0A000 "cached plan must not change result type": a column of the answer changed
//   - class 42, as "operator does not exist": a column that an argument is compared with changed
//   - 26000 "prepared statement does not exist": DEALLOCATE or DISCARD ALL
func (c *conn) forgetIfStale(text string, err error) bool {
	var pg *pq.Error
	if !errors.As(err, &pg) {
		return false
	}
	switch {
	case pg.Code == "0A000", pg.Code.Class() == "42":
		if kept, ok := c.statements[text]; ok {
			_ = c.forget(kept) // if it fails, the connection is broken, and the next statement reports it
		}
		return true
	case pg.Code == unknownStatement: // the server dropped one, so it has dropped all
		clear(c.statements)
		c.recent.Init()
		return true
	}
	return false
}

// cancelled replaces "canceling statement due to user request" by the context's own error
// if the context caused it, so that a shutdown is not mistaken for a slow statement, and
// by a lock wait if it was one.
func (c *conn) cancelled(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		c.stained = true
	}
	if explained := c.watch.explain(ctx, err); explained != err || ctx.Err() == nil { //nolint:errorlint // identity is intended
		return explained
	}
	var pg *pq.Error
	if errors.As(err, &pg) && pg.Code == queryCancelled {
		return fmt.Errorf("%w: %s", ctx.Err(), pg.Message)
	}
	return err
}

// BeginTx begins a transaction. If a cancellable ctx ends during the transaction, the
// connection is closed.
func (c *conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if c.reading {
		return nil, errReading
	}
	inner, stop := c.watch.until(ctx)
	begun, err := c.pqConn.BeginTx(inner, opts)
	if err != nil {
		stop()
		return nil, err
	}
	c.inTx, c.txDone = true, ctx.Done()
	return &tx{Tx: begun, ctx: ctx, of: c, stop: stop}, nil
}

// ResetSession refuses a connection on which a context was cancelled, because the cancel
// request might still arrive.
func (c *conn) ResetSession(ctx context.Context) error {
	if c.stained {
		return driver.ErrBadConn
	}
	return c.pqConn.ResetSession(ctx)
}

// IsValid reports whether the connection may return to the pool, see ResetSession.
func (c *conn) IsValid() bool { return !c.stained && c.pqConn.IsValid() }

type tx struct {
	driver.Tx
	ctx  context.Context
	of   *conn
	stop func()
}

// Commit may wait for a lock: of a deferred constraint or a trigger.
func (t *tx) Commit() error {
	t.of.inTx = false
	t.of.watch.begin()
	defer t.end()
	if err := t.Tx.Commit(); err != nil {
		return t.of.cancelled(t.ctx, err)
	}
	return nil
}

func (t *tx) Rollback() error {
	t.of.inTx = false
	defer t.end()
	return t.Tx.Rollback()
}

func (t *tx) end() {
	t.stop()
	t.of.watch.end()
}

type rows struct {
	pqRows
	ctx context.Context
	of  *conn
	end func()
}

// Next may wait for a lock: SELECT … FOR UPDATE returns the first row before it locks the
// second.
func (r *rows) Next(to []driver.Value) error {
	err := r.pqRows.Next(to)
	if err != nil && !errors.Is(err, io.EOF) {
		return r.of.cancelled(r.ctx, err)
	}
	return err
}

func (r *rows) Close() error {
	defer r.end()
	r.of.reading = false
	if r.ctx.Err() != nil {
		r.of.stained = true
	}
	return r.pqRows.Close()
}
