// Package parity plays the same orders and consultations over each transport, by
// one binary, whose checksum it prints, and compares everything that is left: the proof
// that a line of configuration changes how messages travel and nothing else.
//
// # What is compared
//
// PostgreSQL with the fake broker, with a real Kafka where one is named, and with
// a process and a database for each module where that is asked for:
//
//   - every table of every module, row by row; the tables of the bus itself have
//     the next three lines instead;
//   - what each subscriber handled of each key and sender, in the order in which
//     it committed, by type and place among its like;
//   - the wire, a line for each type of message: payload byte for byte, and each
//     part of the envelope. On Kafka it is what lies in the topics, read from the
//     first record on by another client library than the program's, while the
//     run goes on (commands are deleted once received). On PostgreSQL it is what
//     the tables have, and their columns are the envelope's parts;
//   - dead letters with state and error; e-mails with recipient, subject, both
//     bodies and what they tell of; the gateway's own book.
//
// Each line is identical, adapted or different. Adapted is a line that differs
// in nothing but what the list in adapted.go gives a reason for. A difference
// tells the first row that one side lacks and what comes nearest on the other.
//
// # What is mapped away
//
// Rows are compared as a bag: no table promises an order of insertion. Columns
// that number rows as they came become the place among those that belong
// together (places). A generated id becomes a name that is made of what was
// handed in, "<payment 1 of goods-1>", so that a reference to the wrong thing is
// a difference; an id that the tables do not define (an HTTP request's) becomes
// "<an id>". So do trace ids, tracking numbers and the servers' ports. A time
// within the run becomes "<a moment of the run>"; another one, as the
// reservations handed in, stays. A message's number becomes "<the sender's
// number>" if it is the one in its sender's table.
//
// # What the seed decides, and what it does not
//
// The gateway's treatment of each charge is a function of seed and order key.
// What a consultation does next is a script, but when its deposit is paid is the
// gateway's; so the demo is played calmly: the next step of a consultation, and
// the address that comes after a payment, wait until everybody has heard what
// was said before; contacts are known first; consultations open one after the
// other. Between orders there is no such waiting: sixteen clients, as ever.
//
// Left to chance is what happens at the same time in the outside: the gateway's
// answer against its callback, the order in which mails of one order are taken,
// and the order between keys. The first is in the list; the others are mapped.
//
// # Limits
//
// Times are not compared, nor the order between keys, nor metrics and logs. It
// proves what one seed shows, and durability not at all: the demo's kills and
// the tests of the brokers do that.
package parity
