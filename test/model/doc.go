// Package model plays random programs on a transport, and compares what became
// of every message with a model of package bus's promises that fits into memory.
//
// A program is a list of steps: transactions that say something and commit or
// roll back, some of them at the same time; handlers that fail once, a few
// times, or until somebody mends them, by an error, a panic or contention;
// processes that start, end well, lose their database in the middle of whatever
// they do, are killed −9 (real ones, see Child), or hang for longer than their
// lease and go on; operators who retry dead letters, mended or not, and discard
// them; a new subscriber that begins with the first event, at a time, or now; a
// type added to a subscriber while the old version still runs; everything said
// so far delivered again.
//
// # What is checked
//
// When all is quiet, for every subscriber:
//
//   - every committed message that it hears has exactly one outcome: one effect
//     (and one message that the effect published, and one inbox row), or dead, or
//     held behind a dead one of its key, or discarded by an operator;
//   - per key the effects are in the order in which the messages were committed;
//   - a message whose transaction rolled back is nowhere;
//   - a message that was said before the subscriber's start has no outcome; one
//     of a type that was added later may have one if it was said before (the
//     subscriber may not have come to it yet), and must have one if after.
//
// A transaction whose process lost its database while it committed may have
// committed or not, but as a whole.
//
// # How many
//
// By default a few programs, in under 40 s. -rapid.checks=N plays N for each of
// four series; `make model` plays many. A program that fails is made shorter and
// printed with what differed; -rapid.seed repeats a series' choice of steps, but
// not its timing.
package model
