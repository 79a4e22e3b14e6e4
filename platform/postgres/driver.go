package postgres

import (
	"container/list"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/lib/pq"
)

// statementsPerConnection bounds what one connection keeps prepared. The whole
// program has a few hundred texts, a connection sees those of one module; a
// statement costs the server a few tens of kB.
const statementsPerConnection = 256

const (
	unknownStatement = pq.ErrorCode("26000")
	queryCancelled   = pq.ErrorCode("57014")
)

// pqConn is what lib/pq's connection can do and this wrapper relies on.
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

// pqStmt is what lib/pq's prepared statement can do.
type pqStmt interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

// pqRows is what lib/pq's rows can do.
type pqRows interface {
	driver.RowsNextResultSet
	driver.RowsColumnTypeScanType
	driver.RowsColumnTypeDatabaseTypeName
	driver.RowsColumnTypeLength
	driver.RowsColumnTypePrecisionScale
}

// connector makes connections that prepare.
type connector struct {
	pq.Config
	dial dialer
}

func (c *connector) Driver() driver.Driver { return &pq.Driver{} }

// raw opens a connection of lib/pq's own.
func (c *connector) raw(ctx context.Context) (pqConn, error) {
	inner, err := pq.NewConnectorConfig(c.Config.Clone())
	if err != nil {
		return nil, err
	}
	inner.Dialer(c.dial)
	opened, err := inner.Connect(ctx)
	if err != nil {
		return nil, c.cannotConnect(err)
	}
	able, ok := opened.(pqConn)
	if !ok {
		_ = opened.Close() // unusable anyway
		return nil, fmt.Errorf("lib/pq's connection %T lacks an interface of database/sql/driver", opened)
	}
	return able, nil
}

func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	raw, err := c.raw(ctx)
	if err != nil {
		return nil, err
	}
	return &conn{pqConn: raw, from: c, statements: map[string]*list.Element{}, recent: list.New()}, nil
}

// conn prepares every text that has arguments, once, and keeps the statement.
// A driver connection is used by one goroutine at a time, so it needs no lock.
type conn struct {
	pqConn
	from       *connector
	statements map[string]*list.Element // text → element of recent
	recent     *list.List               // of *prepared, the most recently used first
	reading    bool                     // rows are open; the next statement would read their bytes
	inTx       bool
	txDone     <-chan struct{} // of the context that the transaction was begun with
	stained    bool            // a context was cancelled under a statement: do not reuse after this session
}

type prepared struct {
	text string
	stmt pqStmt
}

var errReading = errors.New("postgres: the rows of an earlier query are still open on this connection: close them first")

// ExecContext runs a text without arguments by the simple protocol (several
// statements may be in it), any other through its prepared statement.
func (c *conn) ExecContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Result, error) {
	if c.reading {
		return nil, errReading
	}
	if len(args) == 0 {
		result, err := c.pqConn.ExecContext(c.unwatched(ctx), text, nil)
		if err != nil {
			return nil, c.cancelled(ctx, err)
		}
		return result, nil
	}
	return withStatement(ctx, c, text, func(stmt pqStmt) (driver.Result, error) {
		return stmt.ExecContext(c.unwatched(ctx), args)
	})
}

// QueryContext is ExecContext with rows.
func (c *conn) QueryContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Rows, error) {
	if c.reading {
		return nil, errReading
	}
	var found driver.Rows
	var err error
	if len(args) == 0 {
		if found, err = c.pqConn.QueryContext(c.unwatched(ctx), text, nil); err != nil {
			err = c.cancelled(ctx, err)
		}
	} else {
		found, err = withStatement(ctx, c, text, func(stmt pqStmt) (driver.Rows, error) {
			return stmt.QueryContext(c.unwatched(ctx), args)
		})
	}
	if err != nil {
		return nil, err
	}
	able, ok := found.(pqRows)
	if !ok {
		_ = found.Close() // unusable anyway
		return nil, fmt.Errorf("lib/pq's rows %T lack an interface of database/sql/driver", found)
	}
	c.reading = true
	return &rows{pqRows: able, ctx: ctx, of: c}, nil
}

// unwatched is ctx for a statement of a transaction that was begun with the same
// context: lib/pq watches that one already, and would start a goroutine for each
// statement to watch it again.
func (c *conn) unwatched(ctx context.Context) context.Context {
	if done := ctx.Done(); c.inTx && done != nil && done == c.txDone {
		return context.WithoutCancel(ctx)
	}
	return ctx
}

// withStatement runs use with the prepared statement of text. Outside a
// transaction a statement that went stale is prepared again and run once more:
// it failed before it had any effect. Inside one, the transaction is lost.
func withStatement[R any](ctx context.Context, c *conn, text string, use func(pqStmt) (R, error)) (R, error) {
	var none R
	if err := ctx.Err(); err != nil {
		return none, err
	}
	_, reused := c.statements[text]
	stmt, err := c.statement(ctx, text)
	if err != nil {
		return none, err
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

// PrepareContext prepares a statement that the caller keeps and closes; COPY
// needs it.
func (c *conn) PrepareContext(ctx context.Context, text string) (driver.Stmt, error) {
	if c.reading {
		return nil, errReading
	}
	return c.pqConn.PrepareContext(ctx, text)
}

// statement returns the prepared statement of text. Preparing does not follow
// the caller's context: lib/pq would close the connection over it, and
// statement_timeout and lock_timeout bound it anyway.
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
	if !ok { // COPY, which lib/pq prepares in a way of its own and nobody calls with arguments
		_ = made.Close() // unusable anyway
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

// forgetIfStale forgets the statement of text when err says, or may say, that
// it went stale:
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
			_ = c.forget(kept) // if closing fails the connection is gone, and says so at the next statement
		}
		return true
	case pg.Code == unknownStatement: // the server forgot one, so it forgot all
		clear(c.statements)
		c.recent.Init()
		return true
	}
	return false
}

// cancelled turns "canceling statement due to user request" into the context's
// own error when the context asked for it, so that a shutdown is not taken for
// a statement that was too slow.
func (c *conn) cancelled(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	c.stained = true
	var pg *pq.Error
	if errors.As(err, &pg) && pg.Code == queryCancelled {
		return fmt.Errorf("%w: %s", ctx.Err(), pg.Message)
	}
	return err
}

// BeginTx begins a transaction; a context that can be cancelled, when it is,
// costs the connection.
func (c *conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if c.reading {
		return nil, errReading
	}
	begun, err := c.pqConn.BeginTx(ctx, opts)
	if err != nil {
		return nil, err
	}
	c.inTx, c.txDone = true, ctx.Done()
	return &tx{Tx: begun, of: c}, nil
}

// ResetSession refuses a connection under which a context was cancelled, for
// the cancel request might still be on its way.
func (c *conn) ResetSession(ctx context.Context) error {
	if c.stained {
		return driver.ErrBadConn
	}
	return c.pqConn.ResetSession(ctx)
}

// IsValid is ResetSession's answer at the end of a session.
func (c *conn) IsValid() bool { return !c.stained && c.pqConn.IsValid() }

type tx struct {
	driver.Tx
	of *conn
}

func (t *tx) Commit() error   { t.of.inTx = false; return t.Tx.Commit() }
func (t *tx) Rollback() error { t.of.inTx = false; return t.Tx.Rollback() }

type rows struct {
	pqRows
	ctx context.Context
	of  *conn
}

func (r *rows) Close() error {
	r.of.reading = false
	if r.ctx.Err() != nil {
		r.of.stained = true
	}
	return r.pqRows.Close()
}
