package kafkabridge

import (
	"math"
	"testing"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"

	"millrace/platform/bus/store"
)

func TestArrival_CountsRecordsSinceCheckpoint(t *testing.T) {
	t.Parallel()
	at := func(topic string, offset, from int64) arrival {
		return arrival{record: &sarama.ConsumerMessage{Topic: topic, Offset: offset}, partition: topicPartition{topic, 0}, topicID: "a", from: from}
	}
	checkpoints := []store.Checkpoint{{Topic: "shop.events", TopicID: "a", From: 100, To: 5_000_001}}
	require.EqualValues(t, 1, at("shop.events", 100, 100).since(checkpoints))
	require.EqualValues(t, 4_999_901, at("shop.events", 5_000_000, 100).since(checkpoints), "Kafka's retention deleted what was between")
	require.Zero(t, at("till.events", 5_000_000, 100).since(checkpoints))
	renewed := at("shop.events", 0, 0)
	renewed.renewed = true
	require.EqualValues(t, math.MaxInt64, renewed.since(checkpoints))
}
