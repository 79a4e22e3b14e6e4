package bus

import (
	"context"
	"encoding/json"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"millrace/platform/errs"
)

// Subscription is one thing a module listens to, made by On, Handle or OnEvery.
type Subscription struct {
	// Type is the message's name; "" for OnEvery.
	Type string
	// Command tells a command's handler from an event's.
	Command bool
	// Source tells where the handler's code is, as "modules/delivery/handlers.go:12".
	Source func() string
	// Start is where From says to begin; zero is the first event ever.
	Start time.Time

	handle     func(ctx context.Context, tx *Tx, received Received) error
	middleware []message.HandlerMiddleware
}

// On subscribes a handler to the events of type E. The handler runs in the
// transaction that also moves the subscriber's position: return nil and all of
// it commits; return an error and none of it does, and the error's kind
// (package errs) decides what happens to the message. Further arguments are
// middleware of the module's own, outermost first, inside the transaction.
func On[E Event](handler func(context.Context, *Tx, E) error, own ...message.HandlerMiddleware) Subscription {
	var zero E
	return Subscription{Type: zero.EventName(), Source: sourceOf(handler), handle: decode(handler), middleware: own}
}

// Handle makes the handler the one receiver of the commands of type C. It is
// otherwise as On.
func Handle[C Command](handler func(context.Context, *Tx, C) error, own ...message.HandlerMiddleware) Subscription {
	var zero C
	return Subscription{Type: zero.CommandName(), Command: true, Source: sourceOf(handler), handle: decode(handler), middleware: own}
}

// OnEvery subscribes a handler to every event that any module publishes.
func OnEvery(handler func(context.Context, *Tx, Received) error, own ...message.HandlerMiddleware) Subscription {
	return Subscription{Source: sourceOf(handler), handle: handler, middleware: own}
}

// Now is, for From, the moment in which the module first subscribes.
var Now = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// From says where a module begins that hears an owner's events for the first
// time: with the first one whose transaction began at t or later, by the
// database's clock (per partition; a later one may have begun a little earlier;
// between databases, by the clocks of those who said them),
// or, with Now, with what is committed from then on. Without From it begins with
// the first event ever. Once the module has a position in the owner's events,
// From changes nothing. Its subscriptions to one owner must all begin alike;
// a command's handler has no From: commands are handled, however old.
func (s Subscription) From(t time.Time) Subscription {
	s.Start = t
	return s
}

// decode turns a typed handler into one of raw messages. Bytes that are not
// what their type says are Undecodable, a dead letter at once. Fields that the
// type does not know are ignored: contracts grow by adding fields.
func decode[M any](handler func(context.Context, *Tx, M) error) func(context.Context, *Tx, Received) error {
	return func(ctx context.Context, tx *Tx, received Received) error {
		var m M
		if err := json.Unmarshal(received.Data, &m); err != nil {
			return errs.New(errs.Undecodable, "%s %s: %w", received.Type, received.ID, err)
		}
		return handler(ctx, tx, m)
	}
}
