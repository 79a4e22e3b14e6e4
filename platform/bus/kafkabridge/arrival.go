package kafkabridge

import (
	"math"

	"github.com/IBM/sarama"

	"millrace/platform/bus/store"
)

// arrival is a record, and the session in which it arrived.
type arrival struct {
	session   sarama.ConsumerGroupSession // nil for a record that was read outside the group
	record    *sarama.ConsumerMessage
	partition topicPartition
	topicID   string // when the session began
	from      int64  // where the record before it ended
	deleted   int64  // records that the brokers had deleted unread when the session began
	renewed   bool   // the database last received from another topic of this name
	doubtful  bool   // a restored publisher may have superseded it
}

// live reports whether the session in which it arrived still exists.
func (a arrival) live() bool { return a.session != nil && a.session.Context().Err() == nil }

// checkpointsOf returns how far the records take their partitions. Records that were read
// outside the group take them nowhere: the group receives them again.
func checkpointsOf(all []arrival) []store.Checkpoint {
	index := map[topicPartition]int{}
	var checkpoints []store.Checkpoint
	for _, a := range all {
		if a.session == nil {
			continue
		}
		to := a.record.Offset + 1
		next := store.Checkpoint{Topic: a.partition.topic, Partition: a.partition.partition, TopicID: a.topicID, From: a.from, To: to}
		i, known := index[a.partition]
		if !known {
			index[a.partition] = len(checkpoints)
			checkpoints = append(checkpoints, next)
			continue
		}
		switch c := &checkpoints[i]; {
		case c.TopicID == a.topicID && c.To == a.from:
			c.To = to
		case c.TopicID != a.topicID || a.from < c.From || a.from > c.To: // of a later session
			*c = next
		}
	}
	return checkpoints
}

// since returns how many records Kafka had, up to this one, after what the database has of
// the partition. Those that were deleted unread count, too: as many of a publisher's
// sequence numbers may be missing. A topic that was created again has no relation to the
// numbers of the one before.
func (a arrival) since(checkpoints []store.Checkpoint) int64 {
	if a.renewed {
		return math.MaxInt64
	}
	for _, c := range checkpoints {
		if c.Topic == a.partition.topic && c.Partition == a.partition.partition && c.TopicID == a.topicID {
			return a.record.Offset - c.From + 1 + a.deleted
		}
	}
	return 0
}
