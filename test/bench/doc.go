// Command bench measures the bus against what one would use instead, all in one
// run on one real PostgreSQL (fsync on) that it starts for itself:
//
//   - ours: sqltransport, three modules that listen to one that publishes;
//   - stock: watermill-sql by default, each handler in a transaction of its
//     own, on lib/pq, polling each 10 ms or (the default) each second;
//   - river: River on pgx, three jobs for each payment, by default and tuned;
//   - the floor: pgbench with prepared statements that write the same rows;
//   - ours and stock through Kafka: one real broker that it starts as well
//     (package broker: Java and Maven; without them these measures are left out,
//     and the report notes it).
//
// From this folder:
//
//	go run .                    everything, five alternating rounds, about 40 minutes
//	go run . --quick            the same measures, shorter, in less than 2 minutes; without
//	                            the latency and idling of those that poll each second
//	go run . --only handled     some measures (publish, handled, latency, failures, hotrows,
//	                            processes, payments, blocked, idle, backlog, kafka-relay,
//	                            kafka-latency, kafka-handled, kafka-backlog), comma-separated
//	go run . --only kafka       those four
//	go run . --json             the last line is one JSON object
//	go run . --cpuprofile FILE  profile what ours does in the measure "handled"
//	go run . --statements       what the server did for ours in "handled", by pg_stat_statements
//	go run . --ours             nothing but ours: no ratios, but quick
//	go run . --million          drain a backlog of 1,000,000 as well, on either road
//
// # The work
//
// A payment is one row in a table of payments and one message of about 280
// bytes of JSON, in one transaction. Three subscriber groups handle each: an
// inbox row and a business row, one effect. Every contender runs the same SQL
// for that; what differs is who begins and commits. After each run of "handled"
// the rows are counted: a contender that lost or doubled one is an error, no figure.
//
// "processes" is of ours alone: the program starts itself again, once, twice and
// four times, and all of them handle the commands of one queue with handlers that
// wait 5 ms before their one insert, three at a time in each process. The rate is
// taken while the middle 60 % of the jobs were done.
//
// "payments" is the product's own way: the gateway calls back by HTTP, signed; the
// payment is settled and its event published; delivery prepares a parcel and publishes that,
// notification queues a mail, the data platform stages both events. The
// statements and handlers are the same lines of code for ours and for stock
// (poll 10 ms), which has one pool as large as those of ours together. The peak
// is what is finished each second while 300 payments are under way; then callbacks
// come at half of it. Afterwards each callback must have left each row once.
//
// # Through Kafka
//
// Stock is Watermill's Forwarder (watermill-sql's Subscriber, watermill-kafka's
// Publisher), one watermill-kafka Subscriber for each group, and the handlers of
// stock. Its settings are the defaults except those that would lose or reorder
// messages: acks=all, idempotent, a partition by key, new groups begin at the
// oldest record. Ours is kafkabridge as it comes. Topics have 8 partitions.
//
// "kafka-relay" is a backlog on its way to the broker, while nobody handles: rows
// that were confirmed, per second. The topic is read back afterwards: every
// payment is there once, those of a key in one partition and in order, or there
// is no figure. "kafka-latency" is commit → effect, open loop. "kafka-handled" is
// a backlog that is sent, received and handled all at once, beside the same on
// PostgreSQL alone; it is measured as for "handled", and from the start of the
// process to the last effect, since the first seconds go into sending and
// receiving ahead. "kafka-backlog" is likewise, with the largest heap, the most
// that a garbage collection found alive, and the largest resident memory of this
// process meanwhile: the benchmark itself keeps nothing of it.
// After each, every group has each payment once, those of a key in order.
//
// # The figures
//
// Absolute figures are those of one machine at one moment, shared by client and
// server. Only ratios within one run carry over, so contenders take turns, and
// each figure is the median of its rounds with the smallest and the largest
// beside it.
package main
