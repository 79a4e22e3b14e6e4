// Package errs classifies the errors of the whole program: a closed list of
// kinds, and tables of what each kind means.
//
// Nothing but these three tables decides about it:
//
//   - SQLSTATE → kind (sqlstate.go)
//   - kind → HTTP status (Kind.HTTPStatus)
//   - kind → what the bus does with the message (Kind.Reaction)
//
// An unclassified error is Unknown: the bus retries it a few times with
// backoff; HTTP answers 500 without its text.
package errs

import (
	"errors"
	"fmt"
	"net/http"
)

// Kind is the kind of a failure. The zero Kind is Unknown.
type Kind uint8

// The kinds: who is at fault, and what helps.
const (
	Unknown      Kind = iota // unclassified: may be a bug or a passing fault
	Invalid                  // the input breaks a rule; the same input fails again
	Unauthorized             // the caller is not authenticated
	Forbidden                // the caller may not do this
	NotFound                 // the named thing does not exist
	Conflict                 // the current state, or a constraint other than a unique one, forbids it
	TooLarge                 // more bytes than the stated limit
	Undecodable              // bytes that do not match their type
	Contention               // a deadlock or a serialization failure; an immediate retry helps
	Resource                 // the environment is at fault: a database, broker or disk is unavailable or full, a lock is held, a table or privilege is missing
	Timeout                  // the message's time limit passed
	Shutdown                 // this process is shutting down
	Stale                    // a condition of the request (If-Match) does not hold any more
	kinds                    // number of kinds
)

// Reaction is what the bus does with a message after its handler failed.
type Reaction uint8

// The reactions; see Kind.Reaction.
const (
	Retry Reaction = iota // parked, retried a few times with backoff, then a dead letter
	Dead                  // a dead letter at once: a retry cannot help
	Again                 // retried at once, up to five times, then as Retry
	Pause                 // the subscription pauses; no attempt is counted
	Leave                 // no attempt is counted; the message stays where it is
)

var table = [kinds]struct {
	name     string
	status   int
	reaction Reaction
}{
	Unknown:      {"unknown", http.StatusInternalServerError, Retry},
	Invalid:      {"invalid", http.StatusUnprocessableEntity, Dead},
	Unauthorized: {"unauthorized", http.StatusUnauthorized, Dead},
	Forbidden:    {"forbidden", http.StatusForbidden, Dead},
	NotFound:     {"not found", http.StatusNotFound, Dead},
	Conflict:     {"conflict", http.StatusConflict, Dead},
	TooLarge:     {"too large", http.StatusRequestEntityTooLarge, Dead},
	Undecodable:  {"undecodable", http.StatusBadRequest, Dead},
	Contention:   {"contention", http.StatusServiceUnavailable, Again},
	Resource:     {"resource", http.StatusServiceUnavailable, Pause},
	Timeout:      {"timeout", http.StatusGatewayTimeout, Retry},
	Shutdown:     {"shutdown", http.StatusServiceUnavailable, Leave},
	Stale:        {"stale", http.StatusPreconditionFailed, Dead},
}

// Kinds returns all kinds, for tests and tables that must cover them.
func Kinds() []Kind {
	all := make([]Kind, kinds)
	for i := range all {
		all[i] = Kind(i)
	}
	return all
}

func (k Kind) String() string     { return table[k].name }
func (k Kind) HTTPStatus() int    { return table[k].status }
func (k Kind) Reaction() Reaction { return table[k].reaction }

// Error is an error with a kind. Field names the invalid input in the sender's
// words ("amount", "line 17: currency"); it may be empty.
type Error struct {
	Kind  Kind
	Field string
	Msg   string
	Err   error  // the wrapped error; may be nil
	Now   *State // the current state of the thing whose change was refused; may be nil
}

// State is the state of a thing at the moment when a change of it was refused,
// so that the caller need not read it again.
type State struct {
	Status  string `json:"status,omitempty"`  // in the owner's words; "" for a thing without a status
	Version int64  `json:"version,omitempty"` // grows with every change; 0 if the thing does not exist
}

func (e *Error) Error() string {
	msg := e.Msg
	if e.Field != "" {
		msg = e.Field + ": " + msg
	}
	if e.Err != nil {
		if msg == "" {
			return e.Err.Error()
		}
		msg += ": " + e.Err.Error()
	}
	return msg
}

func (e *Error) Unwrap() error { return e.Err }

// New returns an error of the kind. The format is fmt.Errorf's: %w wraps.
func New(kind Kind, format string, args ...any) error {
	return &Error{Kind: kind, Err: fmt.Errorf(format, args...)}
}

// InvalidField returns an Invalid error that names the invalid field; the
// message describes what is allowed.
func InvalidField(field, format string, args ...any) error {
	return &Error{Kind: Invalid, Field: field, Msg: fmt.Sprintf(format, args...)}
}

// As wraps err in an Error of the kind, whatever its kind was. As(kind, nil) is
// nil.
func As(kind Kind, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Kind: kind, Err: err}
}

// Wrap adds the failed action to *err if it is not nil, and keeps its kind:
//
//	defer errs.Wrap(&err, "open %q", name)
func Wrap(err *error, format string, args ...any) {
	if *err != nil {
		*err = fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), *err)
	}
}

// Refuse returns a Conflict error with the thing's current state.
func Refuse(now State, format string, args ...any) error {
	return &Error{Kind: Conflict, Msg: fmt.Sprintf(format, args...), Now: &now}
}

// StateOf returns the state in err, or nil.
func StateOf(err error) *State {
	var e *Error
	if errors.As(err, &e) {
		return e.Now
	}
	return nil
}

// FieldOf returns the field that err names, or "".
func FieldOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Field
	}
	return ""
}
