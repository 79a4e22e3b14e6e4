// Package store is the bus's part of the database: the tables of the schema bus and of
// each module's schema, the shape of their rows, and where a message is stored.
//
// # Tables
//
// A module's event log has its events, its command queue the commands sent to it. Both
// have 64 partitions; a key's partition is the same in all topics. Through a bridge, the
// outbox has the commands that the module sends to modules of other databases, and the
// inbound table the messages that arrived from there. All four have one row shape. See
// migrations/ for the others.
//
// # Offsets
//
// Append writes a transaction's messages at its end, by functions that lock each
// partition until the commit. So a partition's offsets follow the commit order and have
// no gaps: who reads behind an offset misses nothing, and waits for no other transaction.
//
// # What publishing costs
//
// A transaction with one message takes one round trip for it. The append function costs
// the server about 40 µs, most of it for the row and its index, and the client 3 µs. While
// commits are slow, writers of one partition wait for each other.
package store
