// Package demo plays the whole product on real input, from end to end, and
// proves that nothing was lost and nothing happened twice.
//
// # What it does
//
// It starts a database of its own, the payment gateway's simulator and the mail
// inbox, and then the program: the same App in this process, or with kills a
// child process. Orders and consultations go in over HTTP as a client would
// send them: with idempotency keys, and repeated with the same key when the
// connection breaks. When everything is in, it waits until the database says
// that nothing is left to do, sends callbacks that must be refused and copies
// that must change nothing, and then checks the promises.
//
// # What counts as evidence
//
// The tables, the simulator's own book and the mailbox. No counter of the
// program or of this package is evidence. Each column of the table of
// subscribers is measured by itself, never as the rest of the others, and a
// message without any outcome is lost, and named.
//
// Everything is promised to be settled 30 s after the last fault (a kill, a
// misbehaviour of the gateway, the last request), and the run says how long it
// took. No wait of a run has a limit while anything moves in the tables: a busy
// machine that goes on with its work is slow, and nothing is stuck. When nothing
// at all moved for 90 s the run is given up: it tells the messages, the
// conversation of the order at fault and the checks as they are then. No more
// than 200 payments are open at a time; the next ones wait for room.
//
// # Kills
//
// With kills the serving process is a child on a port that it keeps. It is
// killed with SIGKILL while requests are in flight, at moments that the seed
// draws, and started again at once; the clients and the gateway repeat what was
// not answered. The database, the gateway and the mailbox live in this process,
// so their memory of what happened survives. On Linux the child dies with this
// process, however that ends.
//
// # Split
//
// With Split every module is a child process of its own, with a database of its
// own that has this module's tables only, and Kafka between them; the front door
// is in this process. The clients and the gateway know the front door only.
// Kills then counts for each process. The checks are the same and look into one
// database as ever: before each look the rows of every module's database are
// brought there. Its tables have the same constraints as the modules' own, which
// the same migrations made, but for references between tables.
//
// # What it needs and leaves
//
// Without a database URL an embedded server, with its data in
// <data_dir>/demo, so that it runs beside `millrace serve`; with one, the
// database <name>_demo on that server (and <name>_demo_<module>, split), which is
// dropped and made again at each run. It drops only a database that it marked as its own. Both stay afterwards,
// to be looked at: MILLRACE_DATA_DIR=.data/demo millrace trace KEY.
//
// # Errors
//
// A file of orders is checked completely before anything starts; every bad line
// is told. [Run] returns an error unless every check holds and, from 200 orders
// on, the simulator misbehaved in each of its ways at least once. A server that
// ends by itself, or an answer that a client could not expect, ends the run.
// What the server says is in <data_dir>/demo/serve.log.
package demo
