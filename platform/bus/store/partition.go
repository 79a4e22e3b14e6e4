package store

import "encoding/binary"

// Partitions is how many partitions every topic has; it never changes.
const Partitions = 64

// PartitionOf returns a key's partition, the same for all topics: the one that
// Kafka's default (Java) partitioner picks for a topic of 64 partitions.
func PartitionOf(key string) int { return int(murmur2([]byte(key)) & (Partitions - 1)) }

// murmur2 is Kafka's variant of MurmurHash 2: 32 bits, seed 0x9747b28c
// (org.apache.kafka.common.utils.Utils.murmur2).
func murmur2(data []byte) uint32 {
	const m, r = 0x5bd1e995, 24
	h := uint32(0x9747b28c) ^ uint32(len(data)) //nolint:gosec // a key is far below 4 GiB
	for ; len(data) >= 4; data = data[4:] {
		k := binary.LittleEndian.Uint32(data)
		k *= m
		k ^= k >> r
		k *= m
		h *= m
		h ^= k
	}
	switch len(data) {
	case 3:
		h ^= uint32(data[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(data[1]) << 8
		fallthrough
	case 1:
		h ^= uint32(data[0])
		h *= m
	}
	h ^= h >> 13
	h *= m
	h ^= h >> 15
	return h
}
