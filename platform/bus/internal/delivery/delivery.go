// Package delivery connects a transport's worker, which begins and commits
// transactions, with the router's middleware, which calls one handler inside
// them. A Delivery travels in the message's context.
package delivery

import (
	"context"
	"database/sql"

	"github.com/ThreeDotsLabs/watermill/message"
)

// Delivery is one message on its way through the router, inside a transaction
// that belongs to the worker. The worker sets the first group and reads the
// second after the message was acked or nacked; in between the middleware owns it.
type Delivery struct {
	Tx       *sql.Tx                                      // the batch's transaction
	Isolated bool                                         // a savepoint stands around this message: a failure is certainly its own
	Out      *Outbox                                      // what the batch publishes, written in one call before the commit
	Park     func(ctx context.Context, cause error) error // parks the message, in Tx
	Attempt  int                                          // 1 for the first
	Failed   error                                        // known to fail, from an earlier try of the batch: the handler is not called

	Err    error // why the handler failed the last time it was tried; nil when it succeeded
	Broken bool  // Tx cannot be used any more
	Late   bool  // the handler passed its own time limit: the failure is certainly its own
}

// Outbox collects what a transaction publishes, until it is written in one call.
type Outbox struct {
	Messages []*message.Message
	Commit   []func() // called after the commit, in this process only
}

// Mark returns the present end of the outbox, for Rewind.
func (o *Outbox) Mark() (int, int) { return len(o.Messages), len(o.Commit) }

// Rewind forgets what was added after the mark: its savepoint was rolled back.
func (o *Outbox) Rewind(messages, commit int) {
	o.Messages, o.Commit = o.Messages[:messages], o.Commit[:commit]
}

type contextKey struct{}

// With returns a context that carries the delivery.
func With(ctx context.Context, d *Delivery) context.Context {
	return context.WithValue(ctx, contextKey{}, d)
}

// From returns the delivery that ctx carries, or nil.
func From(ctx context.Context) *Delivery {
	d, _ := ctx.Value(contextKey{}).(*Delivery)
	return d
}
