// Package sqltransport carries messages through PostgreSQL: it connects packages store, work,
// engine, relay and cluster for the modules that a process hosts.
//
// # How a message travels
//
// A transaction that publishes or sends writes the message, as its last statement, into its
// owner's event log or the receiver's command queue (package store). The commit wakes the
// subscribers of this process, and notifies the other processes (package cluster). A
// subscriber's worker reads the partition (package work) and handles the message in a batch
// (package engine).
//
// With a Bridge only the path between databases is different: commands go into an outbox of
// the sender, a relay passes log and outbox to the bridge, and what it receives is handled from
// an inbound table (package relay).
//
// # What it promises
//
// What package bus promises, on one process or several, through kill −9, SIGSTOP, lost
// connections and a crash of the database. The partitions of a process that was killed, or
// stopped inside a transaction, are taken over within twice LeaseTTL.
//
// # What it does not promise
//
// Nothing is handled while the database is away, and nothing is lost then. Connections through
// a pooler in transaction mode are refused by package postgres: publish locks and sessions
// would not survive it. So is a database with synchronous_commit = off. One with fsync = off is
// not: then a crash of the machine may lose messages.
//
// # Rights
//
// A module may work with the rights of a role that can touch nothing of the others but what the
// topology allows: see admin.Roles. A process that is not the owner of the tables changes none;
// package admin is the owner's. Where processes sign in as different users, a stalled one's
// transactions are left to the server's time limit (3 s).
//
// # Pauses
//
// The log has one line when the first partition of a subscription pauses, with the holder of
// the lock or what to do, one for each further reason, and one when the last partition goes on.
// Transport.Paused reports it to the readiness check.
//
// # Which parts of Watermill are replaced, and why
//
// watermill-sql's Subscriber reads below the oldest running transaction, so one slow
// transaction anywhere in the cluster stops every topic (a 5 s handler delays an unrelated topic
// by 4.9 s), keeps its own transaction open while a handler runs, and polls (0.53 s median
// latency). Its queue schema deletes rows that were fetched but never acked. So reading,
// progress and leases are ours; the Publisher, the Router and its middleware are Watermill's.
package sqltransport
