// Package cluster shares the partitions of subscribers among nodes. A node is a process
// that works on one database.
//
// # Leases
//
// A node renews a lease, its row in bus.nodes, twice in each lease time. The row names
// what the node works on. When the lease expires, the other nodes take its partitions
// over. The lease decides who works, and not who is right: each transaction that handles
// messages moves its offset by compare-and-set, so a node that wrongly believes that a
// partition is assigned to it changes nothing.
//
// # Partition assignment
//
// After each renewal a node compares what it believes with the offsets table, claims free
// partitions up to its share of each topic, and releases those above its share. Nodes
// that subscribe to different topics, as two versions of a module may, share only the
// topics that they have in common.
//
// # Notifications
//
// After a commit a node notifies the others which partitions have new rows, by NOTIFY on a
// connection of its own and coalesced. Notifications only wake: a lost one is made up for
// by polling.
//
// A killed or stopped node's partitions are taken over within twice the lease time.
package cluster
