//go:build stock

package stock_test

import (
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"millrace/platform/bus/kafkabridge/fakebroker"
)

// brokers are a fake Kafka with the topic payments, of so many partitions.
func brokers(t *testing.T, partitions int32, options ...kfake.Opt) *fakebroker.Broker {
	t.Helper()
	b, err := fakebroker.Start(append(options, kfake.GroupMinSessionTimeout(time.Second))...)
	require.NoError(t, err)
	t.Cleanup(b.Close)
	require.NoError(t, b.CreateTopic("payments", partitions, nil))
	return b
}

// byMetadata is the stock marshaler that gives records a key.
var byMetadata = kafka.NewWithPartitioningMarshaler(func(_ string, msg *message.Message) (string, error) { return msg.Metadata.Get("key"), nil })

// kafkaPublisher is the stock publisher with its defaults; nil is the default marshaler.
func kafkaPublisher(t *testing.T, b *fakebroker.Broker, m kafka.Marshaler) message.Publisher {
	t.Helper()
	p, err := kafka.NewPublisher(kafka.PublisherConfig{Brokers: b.Addresses(), Marshaler: m}, watermill.NopLogger{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

// fromTheOldest mends one default, for the tests that are about something else.
func fromTheOldest(s *sarama.Config) { s.Consumer.Offsets.Initial = sarama.OffsetOldest }

// kafkaSubscriber is the stock subscriber with its defaults, but for what change changes.
func kafkaSubscriber(t *testing.T, b *fakebroker.Broker, u kafka.Unmarshaler, change ...func(*sarama.Config)) *kafka.Subscriber {
	t.Helper()
	settings := kafka.DefaultSaramaSubscriberConfig()
	for _, c := range change {
		c(settings)
	}
	s, err := kafka.NewSubscriber(kafka.SubscriberConfig{
		Brokers: b.Addresses(), Unmarshaler: u, OverwriteSaramaConfig: settings, ConsumerGroup: "shop",
	}, watermill.NopLogger{})
	require.NoError(t, err)
	return s
}

// kafkaSubscribe returns what the topic payments delivers, and what ends that.
func kafkaSubscribe(t *testing.T, b *fakebroker.Broker, change ...func(*sarama.Config)) (<-chan *message.Message, func()) {
	t.Helper()
	s := kafkaSubscriber(t, b, nil, change...)
	messages, err := s.Subscribe(t.Context(), "payments")
	require.NoError(t, err)
	stop := sync.OnceFunc(func() { require.NoError(t, s.Close()) })
	t.Cleanup(stop)
	return messages, stop
}

// written counts a topic's records.
func written(b *fakebroker.Broker, topic string) (n int64) {
	for _, p := range b.PartitionInfos(topic) {
		n += p.HighWatermark
	}
	return n
}

// firstSaidTo publishes until something is delivered, and returns that.
func firstSaidTo(t *testing.T, p message.Publisher, messages <-chan *message.Message) *message.Message {
	t.Helper()
	tick := time.NewTicker(10 * poll)
	defer tick.Stop()
	for deadline := time.After(patience); ; {
		publish(t, p, "payments", "published later")
		select {
		case msg := <-messages:
			return msg
		case <-tick.C:
		case <-deadline:
			require.FailNow(t, "nothing was delivered")
		}
	}
}
