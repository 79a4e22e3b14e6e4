// Package kafkatransport carries messages between databases through Kafka.
//
// # How a message travels
//
// What a module says stays in its own database, events in its log, commands in
// its outbox, numbered without gaps per topic and partition. Relays, which are
// subscribers of those tables with positions and leases of their own
// (relay.Bridge), hand the rows to the forwarder in batches of up to
// 500, and move their position once the brokers have confirmed. What a crash in
// between repeats has the same number.
//
// Each module that hears something is a consumer group of its name, with one
// member in every process that hosts it. What arrives is gathered (up to 500
// records, or 4 MiB, whatever is there), written into the module's inbound table
// in one transaction with how far that is, and only then does the group's offset
// move; a session begins where the database says, so that one that was restored
// from a backup gets the rest again. That transaction does not wait for the disk:
// what a crash of the server forgets, it forgets together with how far it was, and
// the rest is read again with the next record, or within Sweep. The numbers are
// the key of that table, so that what Kafka repeats is dropped and what it
// reorders is put back in order. From there messages are handled exactly as
// without Kafka: same router, positions, inbox, retries and dead letters; what was
// kept and is next for its handler goes there directly, and is not read back.
//
// # What it promises
//
// What package bus promises, whatever happens at the brokers: killed, frozen or
// away for minutes, a change of leaders, rebalances, lost answers, an offset
// that expired, a topic deleted or made anew, partitions that somebody added,
// records of somebody else. No handler runs in the consumer, so a slow one
// causes no rebalance, and none publishes to Kafka, so that a request never
// waits for it.
//
// After a process was killed, or froze, the others of its database notice when
// its lease has run out (2 s), make its members leave their groups, and receive
// from its partitions a heartbeat later (Session/6): within 5 s at the defaults
// (3.4 to 3.6 s measured on Apache Kafka 4.3; by the session alone 5.6 to 6.4 s).
// A process that has no other beside it finds its own old members when it starts
// again, and does the same. What its relays had to send is sent within twice the
// lease.
//
// # What it does not promise
//
// A record that is not one of ours has no number: it is delivered at least once
// and deduplicated by its id for as long as the inbox remembers, in no promised
// order. Whoever may write to a topic can pretend to be a module; restrict that
// by Kafka's access control. Kafka's own transactions are not used, and not waited
// for: what somebody else writes in one counts when it is there, and also if it is
// aborted.
//
// A restored database gets no commands again that were received after its backup,
// since the brokers have deleted them: that is logged, and each hole becomes a
// dead letter. A speaker that is restored gives numbers away again that hearers in
// other databases have handled: these make dead letters of what bears them for as
// long as they keep what had the numbers before (10 minutes), and drop it later.
// Restore such databases together.
//
// # On the wire
//
// CloudEvents 1.0 in Kafka's binary mode: headers ce_id, ce_type, … in one
// order, content-type, and traceparent, correlationid, causationid; nothing
// else leaves the program. The key of a record is the message's key, and its
// partition the one that Java's default partitioner picks. Records of others
// are accepted in binary and in structured mode, if the topic's owner declares
// their type; what they lack is made up, see read. One without a type becomes a
// dead letter of the type "unreadable" in each module that hears the topic.
//
// # Topics
//
// <owner>.events and <owner>.commands, behind Prefix, are created when they are
// missing, and never by naming them. Their settings are compared with what the
// promises need; see Open. Commands are deleted once their owner has received
// them, and has them on its disk. A topic that was deleted is created again, and everything that its
// speakers still have is sent again.
//
// # What is watermill-kafka's, and what is replaced
//
// Rows are published through its Publisher, with a marshaler of ours. The Publisher
// waits for the brokers after each message; the rows of a batch are published at
// the same time, and batchProducer sends them with one call, in order.
//
// The Subscriber is replaced. It delivers the next record of a partition after the
// ack of the one before, so that a transaction of 1.5 ms holds 3.4 rows on average,
// and 20,000 records take 14 s; ours holds 500 and takes 0.5 s (27 times). It makes
// a group member, with connections, for each topic, and after a rebalance it goes
// on with a message whose partition is another's. The benchmarks of this package
// run both sides; docs/decisions/kafka-as-a-bridge.md has the figures. The wire
// works with the stock Subscriber, too (a marshaler of a few lines around read, see
// the benchmarks).
//
// # Files
//
// config.go and client.go (settings, with a reason for each that differs from
// the library's), marshal.go and unmarshal.go (the wire), topics.go, forward.go,
// publish.go and batchproducer.go (out), intake.go and claims.go (in), takeover.go (who is gone), watch.go (what
// no other part would notice), remove.go (an installation that is over),
// transport.go (the ends).
package kafkatransport
