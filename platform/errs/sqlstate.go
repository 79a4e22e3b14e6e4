package errs

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"os"
	"syscall"

	"github.com/lib/pq"
)

// sqlstates is the one table from SQLSTATE to kind: the exact code first, then
// its class of two characters. Class 23 (a constraint refused the row) is never
// transient: the same row is refused again.
//
// Source of the codes: PostgreSQL 15, Appendix A.
var sqlstates = map[string]Kind{
	"08":    Resource,   // connection exceptions
	"22":    Invalid,    // data exceptions: the value does not fit
	"23":    Conflict,   // integrity constraints
	"25006": Resource,   // read-only transaction: a standby, or a fail-over in progress
	"25P03": Timeout,    // idle_in_transaction_session_timeout: the handler held on too long
	"40001": Contention, // serialization failure
	"40P01": Contention, // deadlock detected
	"53":    Resource,   // disk full, out of memory, too many connections
	"55P03": Contention, // lock_timeout
	"57014": Timeout,    // statement_timeout, or cancelled
	"57P01": Resource,   // admin shutdown
	"57P02": Resource,   // crash shutdown
	"57P03": Resource,   // cannot connect now
	"57P05": Resource,   // idle_session_timeout
	"58":    Resource,   // I/O error
	"0A000": Contention, // "cached plan must not change result type": prepare again
	"26000": Contention, // the prepared statement is gone: prepare again
}

// KindOf classifies err: by the Error it wraps, else by its SQLSTATE, else by
// what the network, the driver or a context said. nil is Unknown.
//
// context.Canceled is Shutdown: nothing in this program cancels a message's
// context for another reason. context.DeadlineExceeded is Timeout.
func KindOf(err error) Kind {
	if err == nil {
		return Unknown
	}
	var e *Error
	if errors.As(err, &e) && e.Kind != Unknown {
		return e.Kind
	}
	var pg *pq.Error
	if errors.As(err, &pg) {
		return OfSQLState(string(pg.Code))
	}
	switch {
	case errors.Is(err, context.Canceled):
		return Shutdown
	case errors.Is(err, context.DeadlineExceeded):
		return Timeout
	case errors.Is(err, driver.ErrBadConn), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF),
		errors.Is(err, net.ErrClosed), errors.Is(err, os.ErrDeadlineExceeded),
		errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ECONNRESET),
		errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ENOSPC):
		return Resource
	}
	var network net.Error
	if errors.As(err, &network) {
		return Resource
	}
	return Unknown
}

// OfSQLState returns the kind of a SQLSTATE, a code of five characters.
func OfSQLState(code string) Kind {
	if kind, ok := sqlstates[code]; ok {
		return kind
	}
	if len(code) >= 2 {
		return sqlstates[code[:2]]
	}
	return Unknown
}
