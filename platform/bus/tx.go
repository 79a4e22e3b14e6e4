package bus

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"reflect"
	"sync/atomic"

	"github.com/ThreeDotsLabs/watermill/message"

	"millrace/platform/bus/internal/delivery"
	"millrace/platform/errs"
	"millrace/platform/failpoint"
	"millrace/platform/postgres"
)

// Tx is a use case's, or a handler's, transaction: its SQL and its messages
// commit together or not at all. It ends when the function that received it
// returns; it cannot be committed or rolled back by hand. Not for concurrent use.
type Tx struct {
	ctx   context.Context
	sql   *sql.Tx
	out   *delivery.Outbox
	owner string
	topo  *Topology
	cause Received
	rows  *sql.Rows // of the last query
	over  atomic.Bool
}

// ExecContext runs a statement in the transaction. SQL is unqualified: the
// module's schema is the search path.
//
// Here and in the queries, a text that would end the transaction (COMMIT,
// ROLLBACK), and any text after the function that received the Tx has returned,
// is refused with kind Invalid: it would take effect in other handlers' work.
func (tx *Tx) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if err := tx.refuse(query); err != nil {
		return nil, err
	}
	return tx.sql.ExecContext(tx.bound(ctx), query, args...)
}

// QueryContext runs a query in the transaction. Close the rows before the next
// statement, and before returning.
func (tx *Tx) QueryContext(ctx context.Context, query string, args ...any) (rows *sql.Rows, err error) {
	if err := tx.refuse(query); err != nil {
		return nil, err
	}
	tx.rows, err = tx.sql.QueryContext(tx.bound(ctx), query, args...)
	return tx.rows, err
}

// QueryRowContext runs a query for one row in the transaction. The Scan of what
// is refused fails with context.Canceled.
func (tx *Tx) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	if err := tx.refuse(query); err != nil {
		refused, cancel := context.WithCancel(ctx) // a Row cannot be made with an error of ours
		cancel()
		return tx.sql.QueryRowContext(refused, query, args...)
	}
	return tx.sql.QueryRowContext(tx.bound(ctx), query, args...)
}

func (tx *Tx) refuse(query string) error {
	if tx.over.Load() {
		return errs.New(errs.Invalid, "the transaction is over: its function has returned")
	}
	if postgres.EndsTransaction(query) {
		return errs.New(errs.Invalid, "a transaction cannot be ended by hand: return from the function that received it")
	}
	return nil
}

// bound ends a statement with the handler's time, whatever context it was
// given: the transaction could not be rolled back while the statement runs, and
// its partition would wait for it.
func (tx *Tx) bound(ctx context.Context) context.Context {
	end, limited := tx.ctx.Deadline()
	if !limited {
		return ctx
	}
	if own, ok := ctx.Deadline(); ok && !own.After(end) {
		return ctx
	}
	bound, cancel := context.WithCancelCause(ctx)
	context.AfterFunc(tx.ctx, func() { cancel(context.Cause(tx.ctx)) })
	return bound
}

// end closes rows that were left open: the next statement of the transaction,
// which may be another handler's, would fail of it. That is an error only if
// there is no other.
func (tx *Tx) end(err error) error {
	tx.over.Store(true)
	if tx.rows == nil {
		return err
	}
	if _, closed := tx.rows.Columns(); closed != nil {
		return err
	}
	_ = tx.rows.Close() // the error to return is the one below
	if err == nil {
		err = errs.New(errs.Unknown, "the rows of a query were left open: close them")
	}
	return err
}

// Publish publishes an event. The event is written just before
// the commit, and its subscribers are woken right after it. The module must
// have declared the event in Publishes. Errors are of kind Invalid or TooLarge
// and leave the transaction usable.
func (tx *Tx) Publish(event Event) error {
	if isNil(event) {
		return errs.New(errs.Invalid, "module %s publishes a nil event", tx.owner)
	}
	if !tx.topo.publishes(tx.owner, event.EventName()) {
		return errs.New(errs.Invalid, "module %s publishes %s without declaring it in Publishes()", tx.owner, event.EventName())
	}
	return tx.append(event.EventName(), event.Key(), event)
}

// Send asks the owner of the command to act. It is written just before the
// commit into the owner's queue. The module must have declared it in Sends.
func (tx *Tx) Send(command Command) error {
	if isNil(command) {
		return errs.New(errs.Invalid, "module %s sends a nil command", tx.owner)
	}
	if !tx.topo.sends(tx.owner, command.CommandName()) {
		return errs.New(errs.Invalid, "module %s sends %s without declaring it in Sends()", tx.owner, command.CommandName())
	}
	return tx.append(command.CommandName(), command.Key(), command)
}

func isNil(message any) bool {
	v := reflect.ValueOf(message)
	return !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil()
}

func (tx *Tx) append(name, key string, body any) error {
	if tx.over.Load() { // it would never be written
		return errs.New(errs.Invalid, "%s: the transaction is over: its function has returned", name)
	}
	msg, err := newMessage(tx.ctx, tx.owner, name, key, body, tx.cause)
	if err != nil {
		return err
	}
	tx.out.Messages = append(tx.out.Messages, msg)
	return nil
}

// Cause is the message that is being handled; the zero Received in a use case.
func (tx *Tx) Cause() Received { return tx.cause }

// AfterCommit calls f after the commit, if there is one, in this process only
// and perhaps never: the process may die in between. It is for waking what
// would find its work anyway. f must not block.
func (tx *Tx) AfterCommit(f func()) {
	if !tx.over.Load() { // else there is no commit to come
		tx.out.Commit = append(tx.out.Commit, f)
	}
}

// DB is a module's own handle to its own schema.
type DB struct {
	sql      *sql.DB
	reserved *sql.DB
	owner    string
	topo     *Topology
	log      Log
}

// Log is what a transport gives a DB: how outgoing messages are written inside
// a transaction, and what wakes their readers once it committed.
type Log interface {
	Append(ctx context.Context, tx *sql.Tx, messages []*message.Message) error
	Committed(messages []*message.Message)
}

// NewDB makes the handle of the module called owner. Transports call it.
func NewDB(db *sql.DB, owner string, topo *Topology, log Log) *DB {
	return &DB{sql: db, reserved: db, owner: owner, topo: topo, log: log}
}

// WithReserved gives the handle connections for ExecReserved. Transports call it.
func (db *DB) WithReserved(reserved *sql.DB) *DB {
	db.reserved = reserved
	return db
}

// Owner is the module's name, which is its schema's.
func (db *DB) Owner() string { return db.owner }

// ExecReserved runs a short statement, as the renewal of a lease, on connections
// that no request and no handler takes. Tables are written with their schema, as
// "payment.outbound_calls". It waits no longer than a second for a lock.
func (db *DB) ExecReserved(ctx context.Context, query string, args ...any) (sql.Result, error) {
	return db.reserved.ExecContext(ctx, query, args...)
}

// InTx runs f in a transaction (READ COMMITTED) and commits it if f returns
// nil; the messages of f are written just before. An error of f is returned as it is,
// and nothing happened. An error of the commit itself may mean that the
// transaction committed and the reply was lost: callers that repeat must be
// idempotent. Contention is not retried here.
func (db *DB) InTx(ctx context.Context, f func(*Tx) error) (err error) {
	tx, err := db.sql.BeginTx(ctx, nil)
	if errors.Is(err, context.DeadlineExceeded) { // nothing happened, and the caller is not slow
		return errs.New(errs.Resource, "begin: no connection of module %s was free in time: %w", db.owner, err)
	}
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	// After an error, a panic or a runtime.Goexit (a test that fails inside f);
	// after the commit it does nothing. The first error is the one to return, and
	// a lost connection rolls back by itself.
	defer func() { _ = tx.Rollback() }()
	out := &delivery.Outbox{}
	handed := &Tx{ctx: ctx, sql: tx, out: out, owner: db.owner, topo: db.topo}
	if err := handed.end(f(handed)); err != nil {
		return err
	}
	if err := db.log.Append(ctx, tx, out.Messages); err != nil {
		return fmt.Errorf("append to the log: %w", err)
	}
	failpoint.Here("tx.before_commit")
	err = tx.Commit()
	failpoint.Here("tx.after_commit")
	db.log.Committed(out.Messages) // after an error too: perhaps only the answer was lost
	if err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	for _, f := range out.Commit {
		f()
	}
	return nil
}

// QueryContext reads outside a transaction.
func (db *DB) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return db.sql.QueryContext(ctx, query, args...)
}

// QueryRowContext reads one row outside a transaction.
func (db *DB) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	return db.sql.QueryRowContext(ctx, query, args...)
}
