// Package sqltransport carries messages through PostgreSQL.
//
// # How a message travels
//
// A transaction that says something writes it, as its last statement, into its
// owner's log (events) or the receiver's queue (commands), through
// watermill-sql's Publisher. A log has 64 partitions; a key's partition is the
// same in all of them. Each partition is locked from that statement to the
// commit, so offsets follow the commit order and have no gaps: a plain cursor
// misses nothing, and reading waits for nobody.
//
// A subscriber has one position for each partition. Exactly one living process
// owns it (a lease says which); an executor of that process takes up to 16
// messages, and in one transaction moves the position by compare-and-set,
// writes the inbox rows, lets the router's handlers work, writes what they said
// and commits. Whoever was wrong about owning the partition moves nothing. While
// more partitions are ready than there are executors, short runs of several
// share a transaction.
//
// A message that fails goes aside, in that same transaction, and the later ones
// of its key join it; other keys go on. Before that its run is rolled back and
// done again with a savepoint around the suspect: so a handler, and whatever it
// does beside its transaction, may be called again for messages beside one that
// fails, or is slow; the first call may still be going on then, in a transaction
// that was rolled back.
//
// A handler that takes longer than half a second holds up nobody else: a run of
// several partitions is given up, to be done partition by partition, and while a
// run of one is held a substitute works in its executor's place, as long as two
// of the module's connections are left for its requests.
//
// Handlers that share a transaction wait 100 ms for a lock at most. Whoever
// waits longer gives its run up, and the subscriber makes runs of one message
// for 10 s: rows that many handlers fight for cost no deadlocks.
//
// # Faults of the environment
//
// A fault that no message is to blame for (kinds whose reaction is errs.Pause: a
// lock that something else holds, a missing table or right, a sequence behind its
// table, a full disk, a database that is away) pauses the partition that meets it.
// Its run is rolled back and tried again after 50 ms (250 ms for a lock), twice as
// long each time, up to 10 s, and uses no attempt. The other partitions go on.
//
// A handler alone in its transaction waits 1.5 s for a lock. While a partition of
// the module is paused for one, the tries wait 100 ms, and each eighth of a
// partition 1.5 s, so that a long lock does not occupy the executors. A handler
// whose time ends while it waits for a lock counts as held up and not as slow:
// package postgres looks who blocks it.
//
// The log has one line when the first partition of a subscription pauses, with
// who holds the lock or what to do, one for each further reason, and one when the
// last partition goes on. Transport.Paused reports it to the readiness check.
//
// With a Carrier between databases only the road is different: commands go into
// an outbox of the sender, a relay hands log and outbox to the carrier, and what
// arrives is handled from an inbound table. See Carrier.
//
// # What it promises
//
// What package bus promises, on one process or several, through kill −9,
// SIGSTOP, lost connections and a crash of the database. The partitions of a
// process that was killed, or stopped inside a transaction, are taken over
// within twice LeaseTTL.
//
// # What it does not promise
//
// Nothing is handled while the database is away, and nothing is lost then.
// Connections through a pooler in transaction mode are refused by package
// postgres: publish locks and sessions would not survive it. So is a database
// with synchronous_commit = off. One with fsync = off is not: what a crash of the
// machine leaves of it is the operator's.
//
// # Rights
//
// A module may work with the rights of a role that can touch nothing of the
// others but what the topology allows: see admin.Roles. A process that is not the owner
// of the tables changes none; package admin is the owner's. Where
// processes sign in as different users, a frozen one's transactions are left to
// the server's time limit (3 s).
//
// # Which parts of Watermill are replaced, and why
//
// watermill-sql's Subscriber reads below the oldest running transaction, so one
// slow transaction anywhere in the cluster stops every topic (a 5 s handler
// delays an unrelated topic by 4.9 s), keeps its own transaction open while a
// handler runs, and polls (0.53 s median latency). Its queue schema deletes
// rows that were fetched but never acked. So reading, progress and leases are
// ours; the Publisher, the Router and its middleware are Watermill's.
//
// # What publishing costs
//
// A transaction that says one message takes one round trip for it. The append
// function costs the server about 40 µs, most of it the row and its index; the
// client's side of it 3 µs. The publish lock is held until the commit is on the
// disk: when commits are slow, writers of one partition wait for each other, and
// 32 clients that spread over all 64 partitions do so often.
//
// # What handling costs
//
// A backlog is handled in runs of 16: one claim (position and inbox rows), the
// handlers' own statements, one commit; 160 to 200 µs of processor time for each
// effect, client and server. One message failing in a hundred, once, does a
// tenth of the handlers' statements a second time and costs 17 % of the rate
// (3 to 19 %). At a low rate a message is a
// run: one read for all subscribers of a process, and five round trips for each.
// Claiming 4 partitions at once takes 0.39 ms and 8 take 0.51 ms, one 0.2 ms.
//
// # Reading order
//
// adapter.go and package store (writing), start.go (where to begin), reader.go (reading), task.go, executor.go, batch.go and claim.go (a run),
// aside.go (what failed), nodes.go and package cluster (several processes),
// pauses.go (faults of the environment), stream.go, relay.go, inbound.go, received.go and taken.go (with a carrier), durable.go and
// housekeeping.go, subscriber.go, transport.go and close.go (the ends).
package sqltransport
