package errs

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/lib/pq"
)

// state is the meaning of a SQLSTATE.
type state struct {
	kind Kind
	help string // what an operator must do; "" if the fault passes by itself or is the program's own
}

const (
	freeDisk    = "free disk space on the database server, or make the disk larger"
	applySchema = "a table, column, function or index that this version needs is missing or invisible: run `millrace migrate`, or undo what removed it"
	grantRights = "the module's role lacks a right: run `millrace migrate` as the owner of the tables, which grants them again"
	openServer  = "look at the database server's log, and at the database, user and password of database.url"
	repairData  = "the server reports corrupted data: look at its log, and restore the table or reindex the index"
)

// sqlstates is the only table from SQLSTATE to kind: an exact code first, then
// its class of two characters.
//
// A fault of the environment (a lock, a missing table or privilege, a full
// disk, a server shutdown) is Resource: the message is not at fault, so the
// subscription pauses until the fault is gone. A fault in the values of a
// message or request is Invalid, TooLarge or Conflict: the same values fail
// again. What may be either is Unknown, which is retried a few times.
//
// Source of the codes: PostgreSQL 17, Appendix A.
var sqlstates = map[string]state{
	"08": {Resource, ""}, // connection exceptions

	"0A000": {Contention, ""}, // "cached plan must not change result type": prepare again
	"26000": {Contention, ""}, // the prepared statement does not exist any more: prepare again
	"40001": {Contention, ""}, // serialization failure
	"40P01": {Contention, ""}, // deadlock detected

	"22":    {Invalid, ""},  // data exceptions: a value does not fit
	"54000": {TooLarge, ""}, // usually a value too large for its index; the code's other limits are Unknown

	"2200H": {Resource, "a sequence has reached its end: give it more room (ALTER SEQUENCE … AS bigint MAXVALUE …)"},

	// Constraint violations are never transient: the same row is refused again.
	// A unique violation is different. Modules handle the keys that callers
	// choose, so an unhandled violation concerns a key that the program made: a
	// sequence behind its table (package bus pauses for it), or a generated ID,
	// which is different at the next attempt. It is the program's fault, not
	// the caller's.
	"23":    {Conflict, ""},
	"23505": {Unknown, "if the key comes from a sequence, the sequence is behind its table, as after an upgrade by logical replication: SELECT setval(pg_get_serial_sequence('SCHEMA.TABLE', 'COLUMN'), (SELECT max(COLUMN) FROM SCHEMA.TABLE))"},

	"25006": {Resource, ""}, // read-only transaction: a standby, or a failover in progress
	"25P03": {Timeout, ""},  // idle_in_transaction_session_timeout: the handler took too long
	"25P04": {Timeout, ""},  // transaction_timeout of PostgreSQL 17: the transaction took too long
	"28":    {Resource, openServer},
	"3D000": {Resource, openServer},
	"3F000": {Resource, applySchema},
	"40003": {Resource, ""}, // statement completion unknown: the connection broke

	"42501": {Resource, grantRights},
	"42703": {Resource, applySchema}, // column
	"42704": {Resource, applySchema}, // type, role, constraint …
	"42883": {Resource, applySchema}, // function
	"42P01": {Resource, applySchema}, // table
	"42P10": {Resource, applySchema}, // no unique index for an ON CONFLICT

	"53":    {Resource, ""}, // insufficient resources: out of memory, too many connections
	"53100": {Resource, freeDisk},
	"55000": {Resource, "an object is not in the state that this needs, as a published table without a replica identity: the error names it"},
	"55006": {Resource, ""}, // object in use
	"55P03": {Resource, ""}, // a lock was not acquired in time, or at once with NOWAIT: see Locked

	"57":    {Resource, ""}, // operator intervention: shutdown, crash, start, idle_session_timeout, database dropped
	"57014": {Timeout, ""},  // statement_timeout; for a cancelled query see KindOf
	"58":    {Resource, "the database server's operating system reports an error: look at the server's log"},
	"58030": {Resource, "the database server cannot read or write its files: look at its log and its disk"},
	"F0":    {Resource, openServer},
	"XX001": {Resource, repairData},
	"XX002": {Resource, repairData},
}

// ErrLocked is wrapped by the error of a statement that waited for a lock
// longer than our own time limit. Its kind is Resource.
var ErrLocked = errors.New("a lock was not had within the time limit")

// Locked reports whether err means that a lock was not acquired in time: by
// lock_timeout, NOWAIT or ErrLocked. Waiting for the lock's holder helps. A
// deadlock is Contention and does not count.
func Locked(err error) bool {
	var pg *pq.Error
	return errors.Is(err, ErrLocked) || errors.As(err, &pg) && pg.Code == "55P03"
}

// Help returns what an operator must do about err, if it comes from the
// database and does not pass by itself; else "".
func Help(err error) string {
	var pg *pq.Error
	if !errors.As(err, &pg) {
		return ""
	}
	return stateOf(string(pg.Code)).help
}

// KindOf classifies err: by the Error that it wraps, else by its SQLSTATE, else
// by the error of the network, the driver or a context. KindOf(nil) is Unknown.
//
// context.Canceled is Shutdown: the program cancels a message's context for no
// other reason. context.DeadlineExceeded is Timeout.
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
		if pg.Code == "57014" && strings.Contains(pg.Message, "user request") {
			return Resource // pg_cancel_backend is an operator's action, as pg_terminate_backend is. On a server with messages in another language the kind stays Timeout.
		}
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
func OfSQLState(code string) Kind { return stateOf(code).kind }

func stateOf(code string) state {
	if found, ok := sqlstates[code]; ok {
		return found
	}
	if len(code) >= 2 {
		return sqlstates[code[:2]]
	}
	return state{}
}
