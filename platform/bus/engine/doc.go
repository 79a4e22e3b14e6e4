// Package engine handles the messages of a module's subscriptions: it reads batches, passes
// them to the router, isolates messages that fail, parks them and retries them.
//
// # A batch
//
// A subscriber has one committed offset for each partition. A worker of the node to which the
// partition is assigned takes up to 16 messages. In one transaction it moves the offset by
// compare-and-set, inserts the inbox rows, has the router's handlers work, appends what they
// published, and commits. A node that is wrong about the assignment changes nothing. While more
// partitions are ready than there are workers, short batches of several share a transaction.
//
// # Messages that fail
//
// A batch with a message that fails is rolled back and repeated with savepoints, until it is
// certain which message fails (poison-message isolation). That one is parked in the same
// transaction, and later messages of its key are blocked behind it; other keys go on. So a
// handler may be called again for messages of the batch that did not fail, and so may what it
// does beside its transaction; the first call may still be running then, in a transaction that
// was rolled back.
//
// Parked messages are retried by the node to which their partition is assigned, each in a
// transaction of its own: the first of each key, then the next of that key, in order.
//
// # Slow handlers
//
// A handler that takes longer than half a second delays no other: a batch of several partitions
// is rolled back and repeated partition by partition, and for a batch of one another worker
// starts, as long as two of the module's connections are left for its requests. Batches that
// take longer than 100 ms make the next ones shorter.
//
// # Locks
//
// Handlers that share a transaction wait 100 ms for a lock at most. After a longer wait the
// batch is rolled back, and batches have one message for 10 s: rows that many handlers change
// cost no deadlocks.
//
// A handler alone in its transaction waits 1.5 s for a lock. While a partition of the module is
// paused for one, the tries wait 100 ms, and each eighth of a partition 1.5 s, so that a long
// lock does not occupy the workers. A handler whose time ends while it waits for a lock counts
// as blocked and not as slow: package postgres looks which process blocks it.
//
// # Faults of the environment
//
// A fault that no message causes (kinds whose reaction is errs.Pause: a lock that something
// else holds, a missing table or right, a sequence behind its table, a full disk, a database
// that is away) pauses the partition that meets it; see package work. It uses no attempt.
//
// # What handling costs
//
// A backlog is handled in batches of 16: one claim (offset and inbox rows), the handlers' own
// statements, one commit; 160 to 200 µs of processor time for each effect, client and server.
// One message failing in a hundred, once, repeats a tenth of the handlers' statements and costs
// 17 % of the rate (3 to 19 %). At a low rate each message is a batch: one read for all
// subscribers of a process, and five round trips for each. Claiming 4 partitions at once takes
// 0.39 ms and 8 take 0.51 ms, one 0.2 ms.
package engine
