//go:build stock && kafka

package stock_test

import (
	"testing"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	"github.com/stretchr/testify/require"

	"millrace/test/broker"
)

// Replaced by: all replicas confirm. The other two brokers of three hang while
// the leader confirms, and when they go on, it is gone: one of them leads, and
// both were in sync.
func TestStockPublisher_LosesWhatOnlyTheLeaderOfApacheKafkaHad(t *testing.T) {
	t.Parallel()
	cluster := broker.Start(t, broker.Options{Nodes: 3})
	admin, err := sarama.NewClusterAdmin(cluster.Brokers(), broker.Config())
	require.NoError(t, err)
	require.NoError(t, admin.CreateTopic("payments", &sarama.TopicDetail{NumPartitions: 1, ReplicationFactor: 3}, false))
	require.NoError(t, admin.Close())
	p, err := kafka.NewPublisher(kafka.PublisherConfig{Brokers: cluster.Brokers()}, watermill.NopLogger{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	publish(t, p, "payments", "a")

	leader, err := cluster.Leader("payments", 0)
	require.NoError(t, err)
	others := []int{(leader + 1) % 3, (leader + 2) % 3}
	for _, i := range others {
		require.NoError(t, cluster.Freeze(i))
	}
	publish(t, p, "payments", names(20)...) // each is confirmed, or this fails
	require.NoError(t, cluster.Kill(leader))
	for _, i := range others {
		require.NoError(t, cluster.Thaw(i))
	}
	var left int64
	require.Eventually(t, func() bool {
		now, err := cluster.Leader("payments", 0)
		if err != nil || now == leader {
			return false
		}
		client, err := sarama.NewClient(cluster.Brokers()[now:now+1], broker.Config())
		if err != nil {
			return false
		}
		defer client.Close() //nolint:errcheck // it was only asked
		left, err = client.GetOffset("payments", 0, sarama.OffsetNewest)
		return err == nil
	}, 3*patience, 10*poll)
	require.Less(t, left, int64(21), "mended upstream, if all that was confirmed is there")
}
