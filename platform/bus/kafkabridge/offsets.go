package kafkabridge

import (
	"fmt"
	"maps"
	"sync"
)

// topicPartition is a partition of a topic at the brokers.
type topicPartition struct {
	topic     string // without the prefix
	partition int32
}

func (p topicPartition) String() string { return fmt.Sprintf("%s partition %d", p.topic, p.partition) }

// offsets remembers how far each partition was stored in the present session.
type offsets struct {
	mu sync.Mutex
	at map[topicPartition]int64
}

// reset begins a session. It remembers what the database has then: a crash of the
// database may lose that, too, before anything else arrives.
func (o *offsets) reset(at map[topicPartition]int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.at = maps.Clone(at)
}

// set records that a partition is stored up to an offset.
func (o *offsets) set(p topicPartition, offset int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.at == nil {
		o.at = map[topicPartition]int64{}
	}
	o.at[p] = offset
}

// all returns a copy.
func (o *offsets) all() map[topicPartition]int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return maps.Clone(o.at)
}
