// Package broker runs real Apache Kafka brokers for tests and for developers:
// version 4.3.0 in KRaft mode, from its jars, on 127.0.0.1 only, without
// containers.
//
// # Requirements
//
// Java 17 or newer, and Maven for the first time. Without them [Start] and [Open]
// return an error that names what to install. The 34 jars (31 MB) are fetched once
// into the user's cache folder (privatedir.Cache, kafka-4.3.0), under a file lock
// for concurrent test binaries. Every process checks them against jars.sha256. The
// folder also keeps a class data sharing archive and formatted data folders. Without
// the archive, brokers start a second later. A cache folder that another user
// created, can write to, or replaced by a link is refused.
//
// # When a cluster is ready
//
// When [Start] or [Open] returns, each broker has created a topic, written a record
// with acks=all, read it back, and found the coordinator of a group (so
// __consumer_offsets exists). [Cluster.Restart] returns when the same holds for the
// one broker, and it is in sync with the leaders of all its partitions. The topics of
// these probes are deleted by then.
//
// # Settings
//
// The defaults of Kafka, except: topics have 8 partitions ([Options.Partitions]) and
// are not created automatically; a group's first rebalance starts without delay; a
// dead broker is detected after 1.5 s; __consumer_offsets has one partition. With
// three brokers, topics have three replicas and min.insync.replicas is 2. Each broker
// is also a controller, so two of three must run. zstd is not available.
// [Options.Properties] overrides any setting.
//
// # Faults
//
// [Cluster.Stop] is a clean shutdown, [Cluster.Kill] sends SIGKILL, [Cluster.Freeze]
// stops all threads with SIGSTOP (not on Windows), and a [Proxy] in front of a broker
// drops replies or hangs. A broker keeps its ports and data over a restart. Methods
// may be called concurrently; faults of the same broker run one after the other.
//
// # Cleanup
//
// The data are in a temporary folder. Close (for [Start], the end of the test) ends
// the processes and removes the folder. If the process that started the brokers is
// killed, the kernel kills the brokers (Linux), and a watching shell kills them and
// removes the folder (any Unix). On Windows both are left behind.
//
// A broker uses 300 MB of memory, and starts in 2 s on two idle cores; three
// brokers start in 5 s.
package broker
