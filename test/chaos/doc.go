// Package chaos injects faults into the whole program, and checks afterwards that
// no message was lost, handled twice, or became a dead letter.
//
//   - The process is killed with SIGKILL at every failpoint. The test reads their
//     names from the source (package failpoint); one that is never reached fails
//     the test. At some failpoints the process is stopped instead: a second process
//     must take over, and the first one resumes later.
//   - Connections are cut; replies to COMMIT are lost; the database hangs, crashes,
//     or reports deadlocks and serialization failures; an idle transaction keeps its
//     locks; the data platform's disk is full.
//   - Processes are restarted in turn under load.
//   - Anonymous clients send large and slow requests over thousands of connections.
//
// Each test pays orders through HTTP during the fault, ends the fault, and then
// compares the database, the payment gateway's records, the mailbox and the data
// platform's files for every order. TestFaults_EachCheckFindsAPlantedFault plants
// a violation for each of these checks.
//
// The tests need a build tag and take minutes:
//
//	go test -tags chaos -timeout 15m ./test/chaos/...
//
// Tests on Kafka use a fake broker in the test's process. With the tag kafka, too,
// the move of an installation to Kafka and back uses a real one (see test/broker):
//
//	go test -tags chaos,kafka -run ApacheKafka ./test/chaos
package chaos
