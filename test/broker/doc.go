// Package broker runs real Apache Kafka brokers for tests and for developers:
// version 4.3.0 in KRaft mode, from its jars, on 127.0.0.1 only, without
// containers.
//
// What is needed: Java 17 or newer, and Maven for the first time; without them
// [Start] and [Open] fail and say what to install. The jars (34, 31 MB) are
// fetched once into the user's cache folder (os.UserCacheDir, below
// millrace/kafka-4.3.0) under a file lock, so that test binaries which run at
// the same time do it once, and are checked against jars.sha256 by every
// process that uses them. A class data sharing archive and the formatted data
// folders are made there too; where Java cannot write or use the archive the
// brokers start a second later, and that is all. Nothing else is kept.
//
// A cluster that [Start] or [Open] returned serves: through each broker a
// topic was created, a record written with acks=all and read back, and the
// coordinator of a group was found (so __consumer_offsets exists). [Cluster.Restart]
// returns when the same holds for the one broker, and when it is in sync with
// the leaders of all its partitions. The probes' topics are gone by then.
//
// The settings are those of production, but for: 8 partitions unless said
// otherwise; no topic is created by naming it; a group's first rebalance does
// not wait; a dead broker is known to be dead after 1.5 s; __consumer_offsets
// has one partition. With three brokers every topic has three replicas by
// default and min.insync.replicas is 2; each is also a controller, so two of
// three must live. zstd is not to be had. [Options.Properties] changes any of it.
//
// Faults: [Cluster.Stop] is a clean shutdown, [Cluster.Kill] is kill −9,
// [Cluster.Freeze] stops all threads as SIGSTOP does (not on Windows), and a
// [Proxy] before a broker loses answers or hangs. Ports and data stay the
// broker's own over a restart. Methods may be called from several goroutines;
// two faults of one broker come one after the other.
//
// Data lies in a temporary folder of the cluster. Nothing outlives a cluster:
// Close (for [Start], the end of the test) ends the processes and removes the
// folder. If the process that started them dies, by kill −9 too, the kernel
// kills the brokers (Linux), and a small shell that notices it does so anywhere
// on Unix and removes the folder. On Windows both are left behind then.
//
// A broker takes 300 MB of memory, and 2 s to start on two idle cores; three
// take 5 s.
package broker
