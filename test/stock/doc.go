// Package stock has a test for each part of Watermill that this program replaces.
// The test runs the stock part, on a real PostgreSQL or a Kafka broker in this
// process, and asserts that it still breaks a promise of this program. When such a
// test fails, an upstream release has fixed the part, and our replacement may be
// deleted.
//
// Promises lists all of them, each with the test that shows that our own part keeps
// the promise. The table in docs/watermill.md is generated from it and from a run
// of both sides:
//
//	go test -tags stock ./test/stock                       # the stock parts, on their own
//	go test -tags stock,kafka ./test/stock -run Apache     # what only real brokers show (see test/broker)
//	go test ./test/readme -run Promises -update-promises   # both sides, and writes docs/watermill.md
//
// A test that something does not happen waits one second, and then, where it can,
// checks the server's state (locks that are waited for, numbers of rows). No test
// asserts speed.
//
// The tests of watermill-sql use its defaults except for the waits: it polls,
// resends and retries every 10 ms, and the deadline that a test is about is shorter
// than 30 s. The tests of watermill-kafka use its defaults and those of its client
// library; a comment names each default that is changed and the test of that
// default. The broker in this process shows what clients do, and nothing about
// durability; tests of durability run on Apache Kafka and need the tag kafka, too.
//
// Three faults are not tested, because they break no promise. The delayed subscriber
// redelivered endlessly and was wrong outside UTC; watermill-sql v4.1.5 fixed it.
// watermill-sql's subscriber does not check rows.Err, so it takes a failed read for
// the end of the rows; the next poll reads them. It keeps events without limit, as
// this program does.
package stock
