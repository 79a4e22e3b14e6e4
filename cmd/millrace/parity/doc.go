// Package parity plays the same orders and consultations over each transport with one
// binary, whose checksum it prints, and compares the results. It proves that the
// transport setting changes how messages travel, and nothing else.
//
// # What is compared
//
// PostgreSQL is compared with the fake broker, with a real Kafka if its brokers are
// given, and, if requested, with a process and a database for each module:
//
//   - every table of every module, row by row; the bus's own tables are covered by
//     the next three items instead;
//   - the messages that each subscriber handled, per key and sender, in the order of
//     the commits. A message is identified by its type and its number among the
//     messages of that type;
//   - the wire, one line for each message type: the payload byte for byte, and each
//     attribute of the envelope. On Kafka these are the records in the topics, read
//     from the first one during the run (commands are deleted once received), with
//     another client library than the program's. On PostgreSQL these are the rows of
//     the event logs and command queues;
//   - dead letters with state and error; e-mails with recipient, subject and both
//     bodies; the gateway's own record of charges.
//
// Each line is identical, adapted or different. A line is adapted if it differs only
// in fields for which adapted.go has a reason. For a different line, the report shows
// the first row that one side lacks, and the most similar row of the other side.
//
// # Normalisation
//
// Rows are compared without their order, because no table promises one. A column that
// numbers rows in the order of insertion is replaced by the row's position among the
// rows that belong together (places). A generated id is replaced by a name made from
// the input, such as "<payment 1 of goods-1>", so that a reference to a wrong row is
// a difference. An id that no table defines (an HTTP request's) becomes "<an id>".
// Trace ids, tracking numbers and the servers' ports are replaced, too. A time during
// the run becomes "<a moment of the run>"; other times, such as the reservations of
// the input, stay. A message's offset becomes "<the sender's number>" if it equals
// the offset in its sender's table.
//
// # What the seed decides
//
// The gateway's treatment of each charge is a function of the seed and the order key.
// The steps of a consultation are a script, but the gateway decides when its deposit
// is paid. The demo is therefore played calmly: before the next step of a
// consultation, and before an address that is sent after a payment, it waits until
// all subscribers have handled the earlier messages. All contacts are sent first, and
// consultations open one after another. Between orders there is no such wait: sixteen
// clients work concurrently.
//
// Not decided by the seed is the order of concurrent work outside: the gateway's
// response and its callback, the delivery of several mails of one order, and messages
// of different keys. The first is in the list of adapted fields; the others are
// normalised.
//
// # Limits
//
// Times, the order between keys, metrics and logs are not compared. A run tests one
// seed. It does not test durability: the demo's kills and the broker tests do.
package parity
