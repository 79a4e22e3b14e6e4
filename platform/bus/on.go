package bus

import (
	"bytes"
	"context"
	"fmt"
	"reflect"

	"github.com/ThreeDotsLabs/watermill/message"

	"millrace/platform/errs"
	"millrace/platform/strictjson"
)

// Subscription is one type of message that a module handles, made by On, Handle or OnEvery.
type Subscription struct {
	// Type is the message's name; "" for OnEvery.
	Type string
	// Command is true for a command's handler, false for an event's.
	Command bool
	// Source is where the subscription was made, as "modules/delivery/module.go:41".
	Source string

	fault      string // NewTopology reports it
	handle     func(ctx context.Context, tx *Tx, received Received) error
	middleware []message.HandlerMiddleware
}

// On subscribes a handler to the events of type E. The handler runs in the
// transaction that also moves the subscriber's position: return nil and all of
// it commits; return an error and none of it does, and the error's kind
// (package errs) decides what happens to the message. If E has a method
// Validate() error, a message that it refuses is a dead letter at once and the
// handler does not run. Further arguments are
// middleware of the module's own, outermost first, inside the transaction.
func On[E Event](handler func(context.Context, *Tx, E) error, own ...message.HandlerMiddleware) Subscription {
	s := Subscription{Source: sourceOfCaller(), handle: decode(handler), middleware: own}
	var zero E
	if event, ok := callable(zero); ok {
		s.Type = event.EventName()
	} else {
		s.fault = fmt.Sprintf("On[%s]: name a message type; OnEvery receives every event", reflect.TypeFor[E]())
	}
	return s
}

// Handle makes the handler the one receiver of the commands of type C. It is
// otherwise as On.
func Handle[C Command](handler func(context.Context, *Tx, C) error, own ...message.HandlerMiddleware) Subscription {
	s := Subscription{Command: true, Source: sourceOfCaller(), handle: decode(handler), middleware: own}
	var zero C
	if command, ok := callable(zero); ok {
		s.Type = command.CommandName()
	} else {
		s.fault = fmt.Sprintf("Handle[%s]: name a message type", reflect.TypeFor[C]())
	}
	return s
}

// OnEvery subscribes a handler to every event that any module publishes. It gets
// them as they were published, neither decoded nor validated.
func OnEvery(handler func(context.Context, *Tx, Received) error, own ...message.HandlerMiddleware) Subscription {
	return Subscription{Source: sourceOfCaller(), handle: handler, middleware: own}
}

// validator is a message type that knows what its facts must be. A message whose
// Validate returns an error is Invalid, a dead letter at once, and its handlers
// do not run. The text names the fields at fault and repeats nothing personal:
// it is kept with the dead letter and logged.
type validator interface{ Validate() error }

// decode turns a typed handler into one of raw messages. Bytes that are not
// what their type requires are Undecodable, a dead letter at once; so is a message
// that its own type refuses, see validator. Fields that the type does not know
// are ignored: contracts grow by adding fields. A field's key in another case or
// twice is Undecodable: readers would take it for different things.
func decode[M any](handler func(context.Context, *Tx, M) error) func(context.Context, *Tx, Received) error {
	return func(ctx context.Context, tx *Tx, received Received) error {
		var m M
		if bytes.Equal(bytes.TrimSpace(received.Data), []byte("null")) { // it decodes into anything
			return errs.New(errs.Undecodable, "%s %s: the payload is null", received.Type, received.ID)
		}
		if err := strictjson.Unmarshal(received.Data, &m); err != nil {
			return errs.New(errs.Undecodable, "%s %s: %w", received.Type, received.ID, err)
		}
		v, ok := any(m).(validator)
		if !ok {
			v, ok = any(&m).(validator) // the method has a pointer receiver
		}
		if ok {
			if err := v.Validate(); err != nil {
				return errs.New(errs.Invalid, "%s %s: %w", received.Type, received.ID, err)
			}
		}
		return handler(ctx, tx, m)
	}
}

// callable returns a value of m's type whose methods can be called: for a nil
// pointer, a pointer to a zero value. A nil interface has no methods.
func callable[M any](m M) (M, bool) {
	v := reflect.ValueOf(m)
	if !v.IsValid() {
		return m, false
	}
	if v.Kind() == reflect.Pointer && v.IsNil() {
		m, ok := reflect.New(v.Type().Elem()).Interface().(M)
		return m, ok
	}
	return m, true
}
