// Package relay is the part of a transport between databases that has to do with tables: what
// a bridge sends is read here, and what it received is stored here. Without a bridge all
// modules share a database, and a subscriber reads its publisher's event log there.
//
// # Sending
//
// What a module publishes and sends stays in its own schema, events in its log, commands in
// its outbox, numbered without gaps. The module's Relay passes the rows to the Bridge in order,
// and moves its committed offset behind those that the bridge confirms. After a crash rows are
// sent again.
//
// # Receiving
//
// A Receiver writes what arrived into the inbound table of the module that subscribes to it,
// under the same numbers, and the checkpoints of the bridge with it; from there a message is
// handled as from any log. So what the bridge repeats is dropped, what it reorders is put back
// in order, and what it loses is seen: a gap that is not filled in time becomes a dead letter.
//
// A row without a number comes from a producer that does not count. It is appended to the
// module's command queue.
package relay
