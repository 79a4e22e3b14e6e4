// Package chaos does to the whole program what happens to programs, and checks
// that everything is accounted for afterwards: nothing lost, nothing doubled,
// no dead letter.
//
//   - The process is killed −9 at every failpoint. Their names are read from the
//     source (package failpoint), so that a new step cannot be forgotten: a name
//     that no run reaches is a failure. It is also stopped at some of them, beside
//     a second process that must take over, and goes on later.
//   - Connections are cut; answers to COMMIT are lost; the database hangs,
//     crashes, reports deadlocks and serialization failures, is held by an idle
//     writing transaction; the disk of the data platform is full.
//   - Processes are restarted in turn under load.
//
// Each test pays orders through HTTP while the fault lasts, ends it, and then
// asks the database, the gateway's own book, the mailbox and the data platform's
// files what became of every order (faults in the bookkeeping are returned as
// sentences; a test of their own shows each of them red).
//
// The tests need the build tag, and minutes:
//
//	go test -tags chaos -timeout 15m ./test/chaos/...
//
// What travels through Kafka does so through a broker in the test's process; with
// the tag kafka too, what moves an installation there and back has a real one
// (see test/broker):
//
//	go test -tags chaos,kafka -run ApacheKafka ./test/chaos
package chaos
