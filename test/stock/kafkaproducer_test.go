//go:build stock

package stock_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	wsql "github.com/ThreeDotsLabs/watermill-sql/v4/pkg/sql"
	"github.com/ThreeDotsLabs/watermill/components/forwarder"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/platform/bus/kafkabridge/fakebroker"
)

// Replaced by: an idempotent producer.
func TestStockKafkaProducer_RetryDuplicatesRecord(t *testing.T) {
	t.Parallel()
	b := brokers(t, 1)
	p := kafkaPublisher(t, b, nil)
	b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicasAfterAppend, Count: 2}) // it was written, but the answer is an error
	publish(t, p, "payments", "a")
	require.EqualValues(t, 3, written(b, "payments"), "mended upstream, if one message is one record")
}

// Replaced by: sequence numbers, by which a consumer recognizes a repetition, also of
// a producer that has given up. This is not even the stock configuration, but
// the idempotent one that is advised.
func TestStockKafkaProducer_IdempotenceEndsAtPublishError(t *testing.T) {
	t.Parallel()
	b := brokers(t, 1)
	settings := kafka.DefaultSaramaSyncPublisherConfig()
	settings.Producer.Idempotent, settings.Producer.RequiredAcks, settings.Net.MaxOpenRequests = true, sarama.WaitForAll, 1
	p, err := kafka.NewPublisher(kafka.PublisherConfig{Brokers: b.Addresses(), OverwriteSaramaConfig: settings}, watermill.NopLogger{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	unconfirmed := b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicasAfterAppend, Count: -1})
	msg := message.NewMessage("a", nil)
	require.Error(t, p.Publish("payments", msg))
	require.EqualValues(t, 1, written(b, "payments"), "until here it is idempotent")
	unconfirmed.Remove()
	require.NoError(t, p.Publish("payments", msg), "as a caller does that got an error")
	require.EqualValues(t, 2, written(b, "payments"), "mended upstream, if one message is one record")
}

// onProduce sees each request that writes records.
func onProduce(b *fakebroker.Broker, see func(*kmsg.ProduceRequest)) {
	b.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		b.KeepControl()
		if request, is := r.(*kmsg.ProduceRequest); is {
			see(request)
		}
		return nil, nil, false
	})
}

// Replaced by: all replicas confirm. With three brokers, of which one was killed
// twice, 6 of 60,000 confirmed messages were lost.
func TestStockKafkaProducer_NeedsOneReplicaOnly(t *testing.T) {
	t.Parallel()
	b := brokers(t, 1)
	var acks atomic.Int32
	onProduce(b, func(r *kmsg.ProduceRequest) { acks.Store(int32(r.Acks)) })
	publish(t, kafkaPublisher(t, b, nil), "payments", "a")
	require.EqualValues(t, 1, acks.Load(), "mended upstream, if it asks for all (-1)")
}

// Replaced by: a relay hands the library whole batches.
func TestStockKafkaPublisher_SendsOneRequestPerMessage(t *testing.T) {
	t.Parallel()
	b := brokers(t, 1)
	var requests atomic.Int32
	onProduce(b, func(*kmsg.ProduceRequest) { requests.Add(1) })
	publish(t, kafkaPublisher(t, b, nil), "payments", names(20)...)
	require.EqualValues(t, 20, requests.Load(), "mended upstream, if one call is one request")
}

// Replaced by: nothing publishes to Kafka in a request, and relays have a limit.
func TestStockKafkaPublisher_HasNoTimeLimit(t *testing.T) {
	t.Parallel()
	b := brokers(t, 1)
	p := kafkaPublisher(t, b, nil)
	publish(t, p, "payments", "a")
	gate, entered := make(chan struct{}), make(chan struct{}, 1)
	b.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		entered <- struct{}{}
		b.SleepControl(func() { <-gate })
		return nil, nil, false
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		msg := message.NewMessageWithContext(ctx, "b", nil)
		done <- p.Publish("payments", msg)
	}()
	await(t, "the request", entered)
	cancel()
	select {
	case err := <-done:
		require.Fail(t, "it was mended upstream: Publish heeds the message's context", "%v", err)
	case <-time.After(brief):
	}
	close(gate)
	require.NoError(t, await(t, "Publish", done))
}

// Replaced by: a message that no broker accepts is refused when it is published.
func TestStockForwarder_IsBlockedByMessageThatKafkaRefuses(t *testing.T) {
	t.Parallel()
	b, db := brokers(t, 1), fresh(t)
	outbox := forwarder.NewPublisher(publisher(t, db, wsql.DefaultPostgreSQLSchema{}), forwarder.PublisherConfig{ForwarderTopic: "outbox"})
	large := message.NewMessage("large", []byte(`"`+strings.Repeat("x", 2<<20)+`"`))
	require.NoError(t, outbox.Publish("payments", large, message.NewMessage("behind", []byte(`{}`))), "mended upstream, if it is refused here")
	var tried atomic.Int32
	f, err := forwarder.NewForwarder(newSubscriber(t, db, stockLog()), kafkaPublisher(t, b, nil), watermill.NopLogger{}, forwarder.Config{
		ForwarderTopic: "outbox",
		Middlewares: []message.HandlerMiddleware{func(next message.HandlerFunc) message.HandlerFunc {
			return func(msg *message.Message) ([]*message.Message, error) {
				tried.Add(1)
				return next(msg)
			}
		}},
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	t.Cleanup(sync.OnceFunc(func() {
		cancel()
		require.NoError(t, errors.Join(f.Close(), <-done))
	}))
	require.Eventually(t, func() bool { return tried.Load() > 10 }, patience, poll)
	require.Zero(t, written(b, "payments"), "mended upstream, if what is behind is forwarded")
}

// Replaced by: a message without a key is refused.
func TestStockKafkaMarshaler_SetsNoKey(t *testing.T) {
	t.Parallel()
	b := brokers(t, 8)
	publish(t, kafkaPublisher(t, b, nil), "payments", names(40)...)
	used := 0
	for _, p := range b.PartitionInfos("payments") {
		if p.HighWatermark > 0 {
			used++
		}
	}
	require.Greater(t, used, 1, "mended upstream, if messages published one after the other stay in order")
}

// Replaced by: the connection never asks for a topic to be created.
func TestStockKafkaPublisher_CreatesMisspeltTopics(t *testing.T) {
	t.Parallel()
	b := brokers(t, 1, kfake.AllowAutoTopicCreation()) // as brokers have it by default
	publish(t, kafkaPublisher(t, b, nil), "paymnets", "a")
	require.NotNil(t, b.TopicInfo("paymnets"), "mended upstream, if it is an error")
}

// Replaced by: the message is in the publisher's database, and is sent again.
func TestStockKafkaPublisher_RecreatesDeletedTopic(t *testing.T) {
	t.Parallel()
	b := brokers(t, 4, kfake.AllowAutoTopicCreation())
	p := kafkaPublisher(t, b, nil)
	publish(t, p, "payments", names(5)...)
	require.NoError(t, b.DeleteTopic("payments"))
	publish(t, p, "payments", "a")
	require.EqualValues(t, 1, written(b, "payments"), "mended upstream, if an error is returned")
}

// Replaced by: a list of what may leave the program.
func TestStockKafkaMarshaler_SendsAllMetadata(t *testing.T) {
	t.Parallel()
	b := brokers(t, 1)
	msg := message.NewMessage("a", nil)
	msg.Metadata.Set("session", "canary")
	require.NoError(t, kafkaPublisher(t, b, nil).Publish("payments", msg))
	messages, _ := kafkaSubscribe(t, b, fromTheOldest)
	got := receive(t, messages)
	got.Ack()
	require.Equal(t, "canary", got.Metadata.Get("session"), "mended upstream, if it stays here")
}
