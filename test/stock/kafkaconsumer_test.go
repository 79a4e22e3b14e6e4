//go:build stock

package stock_test

import (
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/platform/bus/kafkabridge/fakebroker"
)

// Replaced by: groups begin at the oldest record.
func TestStockKafkaGroup_StartsAtNewestRecord(t *testing.T) {
	t.Parallel()
	b := brokers(t, 1)
	p := kafkaPublisher(t, b, nil)
	publish(t, p, "payments", names(5)...)
	messages, _ := kafkaSubscribe(t, b)
	first := firstSaidTo(t, p, messages)
	first.Ack()
	require.Equal(t, "published later", first.UUID, "mended upstream, if a new group receives what was published before")
}

func TestStockKafkaGroup_SkipsRecordsAfterRetention(t *testing.T) {
	t.Parallel()
	b := brokers(t, 1)
	p := kafkaPublisher(t, b, nil)
	messages, stop := kafkaSubscribe(t, b)
	firstSaidTo(t, p, messages).Ack()
	require.Eventually(t, func() bool { return b.GroupInfo("shop").Commits["payments"][0].Offset > 0 }, patience, poll)
	stop()
	behind := written(b, "payments")
	publish(t, p, "payments", names(10)...)
	require.NoError(t, b.DeleteRecords("payments", 0, behind+5))

	messages, _ = kafkaSubscribe(t, b)
	first := firstSaidTo(t, p, messages)
	first.Ack()
	require.Equal(t, "published later", first.UUID, "mended upstream, if the five that are still there are delivered")
}

type refusesBad struct {
	kafka.DefaultMarshaler
	seen *calls
}

func (u refusesBad) Unmarshal(m *sarama.ConsumerMessage) (*message.Message, error) {
	u.seen.add(string(m.Value))
	if string(m.Value) == "bad" {
		return nil, errors.New("it is no envelope")
	}
	return u.DefaultMarshaler.Unmarshal(m)
}

// Replaced by: reading a record never fails; what cannot be read is a dead letter.
func TestStockKafkaSubscriber_StopsAtUnreadableRecord(t *testing.T) {
	t.Parallel()
	b := brokers(t, 1)
	p := kafkaPublisher(t, b, nil)
	require.NoError(t, p.Publish("payments", message.NewMessage("", []byte("bad")), message.NewMessage("behind", []byte("good"))))
	seen := &calls{}
	s := kafkaSubscriber(t, b, refusesBad{seen: seen}, fromTheOldest)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	messages, err := s.Subscribe(t.Context(), "payments")
	require.NoError(t, err)
	require.Eventually(t, func() bool { return seen.of("bad") >= 2 }, patience, poll, "it begins again and again")
	nothing(t, messages, "what is behind a record that cannot be read is delivered")
}

// Replaced by: who has no id gets one, of its place in the topic.
func TestStockKafkaMarshaler_ForeignRecordsShareOneID(t *testing.T) {
	t.Parallel()
	b := brokers(t, 1)
	settings := sarama.NewConfig()
	settings.Producer.Return.Successes = true
	p, err := sarama.NewSyncProducer(b.Addresses(), settings)
	require.NoError(t, err)
	for _, value := range []string{"1", "2"} {
		_, _, err = p.SendMessage(&sarama.ProducerMessage{Topic: "payments", Value: sarama.StringEncoder(value)})
		require.NoError(t, err)
	}
	require.NoError(t, p.Close())
	messages, _ := kafkaSubscribe(t, b, fromTheOldest)
	one := receive(t, messages)
	one.Ack()
	two := receive(t, messages)
	two.Ack()
	require.NotEqual(t, one.Payload, two.Payload)
	require.Equal(t, one.UUID, two.UUID, "mended upstream, if they have different IDs: a consumer that drops copies drops the second")
}

// Replaced by: no handler runs in the consumer, and a position moves only for
// who holds its lease. The two limits are shortened, so that it takes seconds.
func TestStockKafkaHandler_ContinuesAfterPartitionWasLost(t *testing.T) {
	t.Parallel()
	b := brokers(t, 1)
	publish(t, kafkaPublisher(t, b, nil), "payments", "a")
	short := func(s *sarama.Config) {
		fromTheOldest(s)
		s.Consumer.Group.Rebalance.Timeout = time.Second
	}
	messages, _ := kafkaSubscribe(t, b, short)
	mine := receive(t, messages)
	t.Cleanup(func() { mine.Ack() })
	others, _ := kafkaSubscribe(t, b, short)
	theirs := receive(t, others)
	t.Cleanup(func() { theirs.Ack() })
	require.Equal(t, mine.UUID, theirs.UUID)
	require.NoError(t, mine.Context().Err(), "mended upstream, if the first one is stopped")
}

// Replaced by: attempts are counted, and the last one ends in a dead letter;
// meanwhile its key waits, and no other.
func TestStockKafkaSubscriber_RetriesOneMessageEndlessly(t *testing.T) {
	t.Parallel()
	b := brokers(t, 1)
	publish(t, kafkaPublisher(t, b, nil), "payments", "bad", "of another key")
	messages, _ := kafkaSubscribe(t, b, fromTheOldest)
	for range 12 { // more often than any of our limits
		msg := receive(t, messages)
		require.Equal(t, "bad", msg.UUID, "mended upstream, if it gives up, or goes on with what is behind")
		msg.Nack()
	}
}

// Replaced by: what goes wrong at a shutdown is no message's fault.
func TestStockKafkaPoisonQueue_PoisonsHealthyMessagesAtShutdown(t *testing.T) {
	t.Parallel()
	b := brokers(t, 4)
	require.NoError(t, b.CreateTopic("poison", 1, nil))
	p := kafkaPublisher(t, b, nil)
	publish(t, p, "payments", "healthy")
	poison, err := middleware.PoisonQueue(p, "poison")
	require.NoError(t, err)
	started := make(chan struct{})
	stop := handle(t, kafkaSubscriber(t, b, nil, fromTheOldest), "payments", func(msg *message.Message) error {
		close(started)
		<-msg.Context().Done()
		return msg.Context().Err()
	}, poison)
	await(t, "the message", started)
	stop()
	require.EqualValues(t, 1, written(b, "poison"), "mended upstream, if the healthy message of a shutdown is not poisoned")
}

// Replaced by: the inbox.
func TestStockKafkaSubscriber_HandlesDuplicates(t *testing.T) {
	t.Parallel()
	b := brokers(t, 1)
	publish(t, kafkaPublisher(t, b, nil), "payments", "a", "a")
	messages, _ := kafkaSubscribe(t, b, fromTheOldest)
	for range 2 {
		msg := receive(t, messages)
		require.Equal(t, "a", msg.UUID)
		msg.Ack()
	}
}

// Replaced by: the inbox. The brokers have forgotten the member, as they do when
// it was silent for too long; what it has finished, but not committed yet, comes
// again.
func TestStockKafkaSubscriber_RepeatsFinishedMessagesAfterLostSession(t *testing.T) {
	t.Parallel()
	b := brokers(t, 1)
	publish(t, kafkaPublisher(t, b, nil), "payments", "a", "b")
	b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: kerr.UnknownMemberID, Count: -1})
	messages, _ := kafkaSubscribe(t, b, fromTheOldest)
	for _, name := range []string{"a", "b"} {
		msg := receive(t, messages)
		require.Equal(t, name, msg.UUID)
		msg.Ack()
	}
	b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, TopLevel: true, Err: kerr.UnknownMemberID, Count: 1})
	again := receive(t, messages)
	again.Ack()
	require.Equal(t, "a", again.UUID, "mended upstream, if what was acked is not delivered again")
}

// Replaced by: the inbox, and numbers. Brokers keep a group's offsets for a week;
// to be renamed is the same.
func TestStockKafkaGroup_HandlesEverythingAgainAfterOffsetsExpire(t *testing.T) {
	t.Parallel()
	b := brokers(t, 1)
	publish(t, kafkaPublisher(t, b, nil), "payments", "a")
	messages, stop := kafkaSubscribe(t, b, fromTheOldest)
	receive(t, messages).Ack()
	require.Eventually(t, func() bool { return b.GroupInfo("shop").Commits["payments"][0].Offset > 0 }, patience, poll)
	stop()
	admin, err := sarama.NewClusterAdmin(b.Addresses(), sarama.NewConfig())
	require.NoError(t, err)
	require.NoError(t, admin.DeleteConsumerGroup("shop"))
	require.NoError(t, admin.Close())
	messages, _ = kafkaSubscribe(t, b, fromTheOldest)
	again := receive(t, messages)
	again.Ack()
	require.Equal(t, "a", again.UUID, "mended upstream, if it is known that it was handled")
}

// Replaced by: nothing is nacked endlessly, and no handler runs in the consumer.
// The group's members must join again, and the one with the message does not
// come before the brokers give it up, a minute later by default; until then
// nobody reads any partition.
func TestStockKafkaGroup_StallsWhenMemberJoinsDuringEndlessNacks(t *testing.T) {
	t.Parallel()
	b := brokers(t, 2)
	writeTo(t, b, 0, "bad")
	writeTo(t, b, 1, "before")
	done := make(chan *message.Message, 1000)
	handle := func(messages <-chan *message.Message) {
		for msg := range messages {
			if string(msg.Payload) == "bad" {
				msg.Nack()
				continue
			}
			msg.Ack()
			done <- msg
		}
	}
	first, _ := kafkaSubscribe(t, b, fromTheOldest)
	go handle(first)
	require.EqualValues(t, "before", receive(t, done).Payload)
	second, _ := kafkaSubscribe(t, b, fromTheOldest)
	go handle(second)
	require.Eventually(t, func() bool { return b.GroupInfo("shop").State == "PreparingRebalance" }, patience, poll)
	// It goes on until its member gets the error, at its next heartbeat.
	for goesOn := true; goesOn && b.GroupInfo("shop").State == "PreparingRebalance"; {
		writeTo(t, b, 1, "meanwhile")
		select {
		case <-done:
		case <-time.After(brief):
			goesOn = false
		}
	}
	nothing(t, done, "the healthy partition goes on")
	require.Equal(t, "PreparingRebalance", b.GroupInfo("shop").State, "mended upstream, if the member comes")
}

// Replaced by: topics are looked at every few seconds, and by default the
// library looks every ten minutes.
func TestStockKafkaSubscriber_MissesAddedPartitions(t *testing.T) {
	t.Parallel()
	b := brokers(t, 1)
	publish(t, kafkaPublisher(t, b, nil), "payments", "a")
	messages, _ := kafkaSubscribe(t, b, fromTheOldest)
	receive(t, messages).Ack()
	writeToAnAddedPartition(t, b)
	nothing(t, messages, "an added partition is read")
	require.GreaterOrEqual(t, kafka.DefaultSaramaSubscriberConfig().Metadata.RefreshFrequency, 10*time.Minute, "mended upstream, if it is short")
}

func writeToAnAddedPartition(t *testing.T, b *fakebroker.Broker) {
	t.Helper()
	admin, err := sarama.NewClusterAdmin(b.Addresses(), sarama.NewConfig())
	require.NoError(t, err)
	require.NoError(t, admin.CreatePartitions("payments", 2, nil, false))
	require.NoError(t, admin.Close())
	writeTo(t, b, 1, "b")
}

// writeTo writes a record into a partition of the topic payments.
func writeTo(t *testing.T, b *fakebroker.Broker, partition int32, value string) {
	t.Helper()
	settings := sarama.NewConfig()
	settings.Producer.Return.Successes = true
	settings.Producer.Partitioner = sarama.NewManualPartitioner
	p, err := sarama.NewSyncProducer(b.Addresses(), settings)
	require.NoError(t, err)
	_, _, err = p.SendMessage(&sarama.ProducerMessage{Topic: "payments", Partition: partition, Value: sarama.StringEncoder(value)})
	require.NoError(t, err)
	require.NoError(t, p.Close())
}

// Replaced by: Java's partitioner, so that a key has one partition with every writer.
func TestStockKafkaPartitioner_DiffersFromJava(t *testing.T) {
	t.Parallel()
	const keys = 64
	b := brokers(t, 8)
	p := kafkaPublisher(t, b, byMetadata)
	for i := range keys {
		msg := message.NewMessage(strconv.Itoa(i), nil)
		msg.Metadata.Set("key", "order-"+strconv.Itoa(i))
		require.NoError(t, p.Publish("payments", msg))
	}
	messages, _ := kafkaSubscribe(t, b, fromTheOldest)
	java, same := sarama.NewMurmur2Partitioner("payments"), 0
	for range keys {
		msg := receive(t, messages)
		where, known := kafka.MessagePartitionFromCtx(msg.Context())
		require.True(t, known)
		want, err := java.Partition(&sarama.ProducerMessage{Key: sarama.StringEncoder(msg.Metadata.Get("key"))}, 8)
		require.NoError(t, err)
		if where == want {
			same++
		}
		msg.Ack()
	}
	require.Less(t, same, keys, "mended upstream, if all are where a Java program looks for them")
}

// Replaced by: a watchdog compares what is written with what is received, logs
// what stands still, and reads past it.
func TestStockKafkaSubscriber_LogsNothingWhenPartitionStalls(t *testing.T) {
	t.Parallel()
	b := brokers(t, 1)
	publish(t, kafkaPublisher(t, b, nil), "payments", "a")
	stands := b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Err: kerr.NotLeaderForPartition, Count: -1})
	logged := watermill.NewCaptureLogger()
	settings := kafka.DefaultSaramaSubscriberConfig()
	fromTheOldest(settings)
	s, err := kafka.NewSubscriber(kafka.SubscriberConfig{Brokers: b.Addresses(), OverwriteSaramaConfig: settings, ConsumerGroup: "shop"}, logged)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	messages, err := s.Subscribe(t.Context(), "payments")
	require.NoError(t, err)
	require.Eventually(t, func() bool { return stands.Hits() > 0 }, patience, poll)
	nothing(t, messages, "it finds another way")
	require.Empty(t, logged.Captured()[watermill.ErrorLogLevel], "mended upstream, if it logs that it stands still")
}
