package kafkabridge

import (
	"context"
	"testing"

	"github.com/IBM/sarama"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"millrace/platform/bus/store"
)

// session is a sarama.ConsumerGroupSession with assigned partitions.
type session struct {
	sarama.ConsumerGroupSession
	claims map[string][]int32
}

func (s session) Context() context.Context { return context.Background() }

func (s session) Claims() map[string][]int32 { return s.claims }

// A broker that has just started replies that it does not know a topic. That is no deletion:
// else the topic would be read from its oldest record.
func TestConsumerSession_TopicUnknownToBrokerKeepsCheckpoint(t *testing.T) {
	t.Parallel()
	cfg := configFor(fake(t))
	a, err := newTopicAdmin(cfg)
	require.NoError(t, err)
	t.Cleanup(a.close)
	to := newFakeInbound()
	known := store.Checkpoint{Topic: "shop.events", Partition: 1, TopicID: "theirs", To: 17}
	require.NoError(t, to.BeginAt(t.Context(), "store", []store.Checkpoint{known}))
	c := newConsumer(a, uuid.New(), "store", []string{"shop.events"}, topology(t), to, &counters{})
	err = newConsumerSession(c).Setup(session{claims: map[string][]int32{cfg.Prefix + "shop.events": {1}}})
	require.ErrorContains(t, err, "topic shop.events is not known to the broker at the moment")
	checkpoints, err := to.Checkpoints(t.Context(), "store")
	require.NoError(t, err)
	require.Equal(t, []store.Checkpoint{known}, checkpoints)
}
