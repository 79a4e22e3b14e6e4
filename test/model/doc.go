// Package model runs random programs on a transport, and compares the outcome of
// every message with an in-memory model of package bus's guarantees.
//
// A program is a list of steps:
//
//   - transactions that publish or send messages and commit or roll back, some of
//     them concurrently;
//   - handlers that fail once, a few times, or until they are fixed, by an error, a
//     panic or contention;
//   - processes that start, shut down, lose their database connection at any
//     moment, are killed with SIGKILL (real processes, see Child), or stall for
//     longer than their lease and resume;
//   - operators that retry dead letters, after a fix or without one, or discard them;
//   - a new subscriber, which starts at the first event;
//   - an event type added to a subscriber while its older version still runs;
//   - a redelivery of everything published so far.
//
// # What is checked
//
// When no message is in progress any more, for every subscriber:
//
//   - each committed message that it subscribes to has exactly one outcome: one
//     effect (with one message published by it and one inbox row), or dead, or
//     blocked by a dead message of its key, or discarded by an operator;
//   - per key, effects are in the commit order of the messages;
//   - a message whose transaction rolled back does not exist;
//   - if a message's type was added to the subscriber later, a message from before
//     may have an outcome (the subscriber may not have reached it yet), and one from
//     after must have one.
//
// If a process lost its database during a commit, the transaction may have
// committed or not, but not partly.
//
// # How many
//
// By default a few programs run, in under 40 s. -rapid.checks=N runs N for each of
// four series; `make model` runs many. A failing program is shortened and printed
// with the differences. -rapid.seed repeats a series' choice of steps, but not its
// timing.
package model
