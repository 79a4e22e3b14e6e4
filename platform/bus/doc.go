// Package bus is the API with which modules publish events, send commands, and
// handle both.
//
// # The two kinds of message
//
// An [Event] is a fact: published, kept, and handled by any number of
// subscribers, each with committed offsets of its own. A [Command] is addressed: exactly one module
// handles it, and it is gone once handled. Publishing a command, or sending an
// event, does not compile.
//
// # What it promises
//
//   - A message is published or sent if and only if its transaction committed.
//   - A message reaches each subscriber at least once; its recorded effect
//     (what the handler wrote through its [Tx], and what it published) happens
//     at most once per subscriber, enforced by a unique constraint.
//   - Effect, inbox row, outgoing messages and committed offset commit together.
//   - Per key, subscriber and topic (an owner's events, or an owner's commands)
//     messages take effect in the order in which they were committed.
//   - A message that fails for good is a dead letter: it holds back the later
//     messages of its key, for that subscriber, and nothing else.
//   - A handler that fails by a fault of its environment uses up no attempt: the
//     database is away, something else holds a lock, a table or a right is
//     missing, a sequence is behind its table. Its partition pauses and goes on by
//     itself when the fault is gone.
//
// # What it does not promise
//
//   - Order between keys, or between topics.
//   - Anything about what a handler does outside its Tx: calls to the outside
//     belong in package outbound, which is at least once.
//   - That time stamps order messages: now() is equal within a batch.
//
// A handler must use its Tx and only its Tx, must not start goroutines that
// outlive it, and has two seconds.
package bus
