// Package stock holds, for each part of Watermill that this program does not
// use as it is, the test that shows why: it runs the stock part, on a real
// PostgreSQL or a Kafka broker in this process, and asserts that it still fails
// what is promised here. The day one of these tests is red, an upstream release
// has mended the part, and our own code for it may go.
//
// Promises is the table of all of them, each beside the test of ours that shows
// the same promise kept. The table in docs/watermill.md is made from it, and from a run of
// both sides:
//
//	go test -tags stock ./test/stock                       # the stock parts, on their own
//	go test -tags stock,kafka ./test/stock -run Apache     # what only real brokers show (see test/broker)
//	go test ./test/readme -run Promises -update-promises   # both sides, and writes docs/watermill.md
//
// What must not happen is given a second; that it then still has not happened is
// told by what the server says (who waits for a lock, how many rows there are)
// wherever the server can tell. No test asserts on speed.
//
// The tests about watermill-sql run it with its defaults but for the waits: it polls,
// sends again and tries again each 10 ms, and a deadline that a test is about is
// shorter than 30 s. The tests about Kafka run watermill-kafka and the library below it with their
// defaults; where one changes a default, which has a test of its own, it says so.
// The broker in this process shows what clients do, and nothing about durability;
// what is about that runs on Apache Kafka, and needs the tag kafka, too.
//
// Not here, since no promise is broken by them: the delayed subscriber, which
// redelivered for ever and was wrong outside UTC, was mended upstream
// (watermill-sql v4.1.5); a broken result that watermill-sql's subscriber takes
// for its end (it does not ask rows.Err) leaves the rows for the next poll; and
// it keeps events for ever, as this program does.
package stock
