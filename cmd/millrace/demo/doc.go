// Package demo plays the whole product with real input, and proves that nothing was
// lost and nothing happened twice.
//
// # What it does
//
// It starts a database, the payment gateway's simulator and the mail inbox, and then
// the program: the same App in this process, or, with kills, in a child process. It
// sends orders and consultations over HTTP like a client: with idempotency keys, and
// with retries after a broken connection. It then waits until the database shows
// that no work is left, sends forged callbacks that must be refused and copies that
// must change nothing, and checks the promises.
//
// # Evidence
//
// The checks read the tables, the simulator's own record of charges and the mailbox.
// They never use a counter of the program or of this package. In the table of
// subscribers each column is counted by its own query, never computed from the
// others. A message without any outcome is lost, and reported by id.
//
// All work must be finished 30 s after the last fault (a kill, a misbehaviour of the
// gateway, the last request); the run prints how long it took. A run waits as long
// as anything changes in the tables, because a busy machine is slow but not stuck.
// If nothing changes for 90 s, the run is given up: it prints the tally of messages,
// the timeline of the order at fault and the checks at that moment. At most 200
// payments are open at a time; later ones wait.
//
// # Kills
//
// With kills, the serving process is a child on a fixed port. It is killed with
// SIGKILL while requests are in flight, at moments that depend on the seed, and
// started again at once. The clients and the gateway retry what was not answered.
// The database, the gateway and the mailbox are in this process and survive the
// kills. On Linux the child dies with this process, even if that is killed.
//
// # Split
//
// With Split, every module is a child process with a database of its own, which has
// this module's tables only. Kafka connects them, and the proxy runs in this
// process; the clients and the gateway know only the proxy. The number of kills
// applies to each process. The checks read a single database, into which the rows of
// every module's database are copied before each read. Its tables have the same
// constraints as the modules' own, because the same migrations made them, but no
// foreign keys.
//
// # What it needs and leaves
//
// Without a database URL, it uses an embedded server with its data in
// <data_dir>/demo, so that it can run beside `millrace serve`. With a URL, it uses
// the database <name>_demo on that server (and <name>_demo_<module>, if split).
//
// WARNING: each run drops these databases. It drops only a database that an earlier
// run marked as the demo's own.
//
// The data stays after a run and can be inspected:
// MILLRACE_DATA_DIR=.data/demo millrace trace KEY.
//
// # Errors
//
// A file of orders is checked completely before anything starts, and every bad line
// is reported. [Run] returns an error unless every check passes and, from 200 orders
// on, the simulator misbehaved at least once in each of its ways. A server that ends
// by itself, or an unexpected response to a client, ends the run. The server's log is
// <data_dir>/demo/serve.log.
package demo
