// Package errs is the error vocabulary of the whole program: a closed list of
// kinds, and the tables that say what a kind means.
//
// There are three tables and no other place decides any of this:
//
//   - SQLSTATE → kind (sqlstate.go)
//   - kind → HTTP status (Kind.HTTPStatus)
//   - kind → what the bus does with the message (Kind.Reaction)
//
// An error that nobody classified is Unknown: the bus tries it again with
// back-off a few times, HTTP answers 500 and shows none of its text.
package errs

import (
	"errors"
	"fmt"
	"net/http"
)

// Kind says what sort of failure an error is. The zero Kind is Unknown.
type Kind uint8

// The kinds. The comment gives who is at fault and what helps.
const (
	Unknown      Kind = iota // not classified: perhaps a bug, perhaps a passing fault
	Invalid                  // the input breaks a rule; the same input fails again
	Unauthorized             // the caller did not prove who it is
	Forbidden                // the caller may not do this
	NotFound                 // the thing named does not exist
	Conflict                 // the state, or a constraint, refuses it (SQLSTATE class 23)
	TooLarge                 // more bytes than the stated limit
	Undecodable              // bytes that are not what their type says
	Contention               // lost a race for a lock; trying again at once helps
	Resource                 // a database, broker or disk is away or full
	Timeout                  // the message's own time limit passed
	Shutdown                 // this process is going down; nobody is at fault
	kinds                    // how many there are
)

// Reaction is what the bus does with a message whose handler failed.
type Reaction uint8

// The reactions, see Kind.Reaction.
const (
	Retry Reaction = iota // put aside, try again with back-off a few times, then dead
	Dead                  // a dead letter at once: trying again cannot help
	Again                 // at once, up to five times, then as Retry
	Pause                 // the subscription pauses, no attempt is used
	Leave                 // not counted; the message stays where it is
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
}

// Kinds lists every kind, for tests and tables that must cover all of them.
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

// Error is an error with a kind. Field names the input at fault, in the words
// of whoever sent it ("amount", "line 17: currency"); it may be empty.
type Error struct {
	Kind  Kind
	Field string
	Msg   string
	Err   error // what it wraps; may be nil
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

// New returns an error of the kind. Like fmt.Errorf, %w wraps.
func New(kind Kind, format string, args ...any) error {
	return &Error{Kind: kind, Err: fmt.Errorf(format, args...)}
}

// InvalidField returns an Invalid error that names the field at fault and says
// what to do about it.
func InvalidField(field, format string, args ...any) error {
	return &Error{Kind: Invalid, Field: field, Msg: fmt.Sprintf(format, args...)}
}

// As gives err a kind, whatever it was before. As(kind, nil) is nil.
func As(kind Kind, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Kind: kind, Err: err}
}

// Wrap adds what was being done to *err, if it is not nil, keeping its kind:
//
//	defer errs.Wrap(&err, "open %q", name)
func Wrap(err *error, format string, args ...any) {
	if *err != nil {
		*err = fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), *err)
	}
}

// FieldOf returns the field that err names, or "".
func FieldOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Field
	}
	return ""
}
