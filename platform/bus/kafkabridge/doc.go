// Package kafkabridge carries messages between databases through Kafka.
//
// WARNING: a client that may write to a topic can publish events and commands in a module's
// name. Records are not signed: restrict the topics by Kafka's access control.
//
// WARNING: a restored database does not get commands again that it received after its backup,
// since the brokers have deleted them. That is logged, and each missing command becomes a dead
// letter.
//
// WARNING: a publisher whose database is restored uses sequence numbers again that subscribers
// in other databases have handled. For as long as these keep the earlier messages (10 minutes),
// a message with such a number becomes a dead letter; later they drop it. Restore databases
// that exchange messages together.
//
// # How a message travels
//
// What a module publishes and sends stays in its own database, events in its log, commands in
// its outbox, numbered without gaps per topic and partition. Relays (package relay), which have
// committed offsets and leases as subscribers have, pass the rows to the sender in batches of
// up to 500, and move their offsets when the brokers have acknowledged. What a crash in between
// repeats has the same sequence numbers.
//
// Each module with subscriptions is a consumer group of its name, with one member in every
// process that hosts it. What arrives, up to 500 records or 4 MiB at once, is stored in the
// module's inbound table in one transaction, together with checkpoints; only then are the
// group's offsets committed. A session begins at the checkpoints, so a database that was
// restored from a backup gets the rest again. The transaction does not wait for the disk: what
// a crash of the server loses it loses together with its checkpoint, and the records are read
// again with the next record, or within Sweep. The sequence numbers are the key of that table,
// so what Kafka repeats is dropped, and what it reorders is put back in order. From there
// messages are handled exactly as without Kafka: same router, offsets, inbox, retries and dead
// letters. A stored message that is next for its handler is passed on directly, and not read
// from the table.
//
// # What it promises
//
// What package bus promises, whatever happens at the brokers: killed, stalled or away for
// minutes, a change of leaders, rebalances, lost replies, an offset that expired, a topic that
// was deleted or created again, partitions that were added, foreign records. No handler runs in
// the consumer, so a slow one causes no rebalance, and none publishes to Kafka, so no request
// waits for it.
//
// When a process was killed or stalls, the other processes of its database notice it when its
// lease has expired (2 s). They remove its members from their groups, and receive from its
// partitions a heartbeat later (Session/6): within 5 s at the defaults (3.4 to 3.6 s measured
// on Apache Kafka 4.3; with the session timeout alone 5.6 to 6.4 s). A process without others
// finds its own earlier members when it starts again, and removes them. What its relays had to
// send is sent within twice the lease.
//
// # What it does not promise
//
// A foreign record has no sequence number: it is delivered at least once and deduplicated by
// its ID for as long as the inbox remembers it, in no promised order. Kafka's own transactions
// are not used: a foreign record that is written in one counts when it is there, also if the
// transaction is aborted later.
//
// # On the wire
//
// CloudEvents 1.0 in Kafka's binary mode: headers ce_id, ce_type and so on in one order,
// content-type, and traceparent, correlationid, causationid; no other metadata leaves the
// program. The key of a record is the message's key, and its partition the one that Java's
// default partitioner chooses. Foreign records are accepted in binary and in structured mode, if
// the topic's owner declares their type; what they lack is derived, see read. One without a
// readable type becomes a dead letter of type "unreadable" in each module that subscribes to
// the topic.
//
// # Topics
//
// <owner>.events and <owner>.commands, behind Prefix, are created when they are missing, and
// never by using their names. The settings of existing ones are checked: see Connect. Commands
// are deleted once their receiver's database has them on its disk. A topic that was deleted is
// created again, and everything that its publishers still have is sent again.
//
// # What is watermill-kafka's, and what is replaced
//
// Rows are published through its Publisher, with a marshaler of ours. The Publisher waits for
// the brokers after each message; the rows of a batch are published at the same time, and
// batchProducer sends them with one call, in order.
//
// The Subscriber is replaced. It delivers the next record of a partition after the ack of the
// one before, so a transaction of 1.5 ms holds 3.4 rows on average, and 20,000 records take
// 14 s; ours holds 500 and takes 0.5 s (27 times). It makes a group member, with connections,
// for each topic, and after a rebalance it goes on with a message whose partition is assigned
// to another member. The benchmarks of this package run both sides;
// docs/decisions/kafka-as-a-bridge.md has the figures. The stock Subscriber can read the
// records, too (with a marshaler of a few lines around read: see the benchmarks).
package kafkabridge
