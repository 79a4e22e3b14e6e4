// Package work decides who works on which partition, and when, inside a node. Package engine
// handles messages with it, package relay sends them to a bridge.
//
// A Group is the work of one subscriber, or of one relay. Of each stream that it reads it has
// the 64 partitions, some of which are assigned to this node. A partition that may have
// something to do is in the group's Queue, once; a worker takes it, does one step, and gives
// it back. So a partition has one worker at a time, and a busy partition takes turns with the
// others. A partition that failed by a fault of the environment is paused: it is queued again
// by a timer, and occupies no worker until then.
//
// A Reader reads one stream for all groups of the node. The transaction that commits records calls
// Readers.Changed, which wakes the groups that read them. Polling finds what a lost
// notification missed.
//
// # Pauses
//
// A partition that meets a fault of the environment is tried again after 50 ms (250 ms for a
// lock), twice as long each time, up to 10 s. The other partitions go on.
package work
