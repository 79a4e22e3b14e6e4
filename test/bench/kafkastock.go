package main

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill"
	wkafka "github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	"github.com/ThreeDotsLabs/watermill/components/forwarder"
	"github.com/ThreeDotsLabs/watermill/message"
)

// stockKafka is what one has without writing anything: Watermill's Forwarder from
// watermill-sql to watermill-kafka's Publisher, and watermill-kafka's Subscriber
// for each group, with the handlers of stock. Where its defaults would lose or
// reorder messages it gets what ours has: acks=all, idempotent, a partition by
// key, new groups from the oldest record on.
type stockKafka struct {
	*stock
	kafka *kafka

	sent       atomic.Int64
	publisher  *wkafka.Publisher
	forwarding *forwarder.Forwarder
	ended      chan error
}

func openStockKafka(k *kafka, poll time.Duration) func(context.Context, string) (contender, error) {
	return func(ctx context.Context, url string) (contender, error) {
		db, err := openStockTables(ctx, url)
		if err != nil {
			return nil, err
		}
		s := &stockKafka{stock: &stock{db: db, poll: poll, target: prefixOf(url) + stockTopic}, kafka: k}
		sub, err := s.subscriber("forwarder")
		if err == nil {
			err = sub.SubscribeInitialize(stockTopic)
		}
		if err == nil {
			err = k.create(s.target)
		}
		if err != nil {
			return nil, errors.Join(err, db.Close())
		}
		s.subs = append(s.subs, sub)
		return s, nil
	}
}

// byKey sends messages of one key to one partition.
var byKey = wkafka.NewWithPartitioningMarshaler(func(_ string, msg *message.Message) (string, error) {
	return msg.Metadata.Get("key"), nil
})

func (s *stockKafka) topic() string { return s.target }

// relay runs the Forwarder.
func (s *stockKafka) relay(ctx context.Context) (sent func() int64, stop func() error, err error) {
	settings := wkafka.DefaultSaramaSyncPublisherConfig()
	settings.Version = sarama.V3_6_0_0
	settings.Producer.RequiredAcks = sarama.WaitForAll
	settings.Producer.Idempotent = true
	settings.Net.MaxOpenRequests = 1
	if s.publisher, err = wkafka.NewPublisher(wkafka.PublisherConfig{Brokers: s.kafka.brokers, Marshaler: byKey, OverwriteSaramaConfig: settings}, watermill.NopLogger{}); err != nil {
		return nil, nil, err
	}
	s.forwarding, err = forwarder.NewForwarder(s.subs[0], counted{s.publisher, &s.sent}, watermill.NopLogger{}, forwarder.Config{ForwarderTopic: stockTopic})
	if err != nil {
		return nil, nil, errors.Join(err, s.publisher.Close())
	}
	s.ended = make(chan error, 1)
	go func() { s.ended <- s.forwarding.Run(context.WithoutCancel(ctx)) }()
	<-s.forwarding.Running()
	return s.sent.Load, func() error { return errors.Join(s.forwarding.Close(), <-s.ended, s.publisher.Close()) }, nil
}

// counted counts what the brokers confirmed.
type counted struct {
	message.Publisher
	sent *atomic.Int64
}

func (c counted) Publish(topic string, messages ...*message.Message) error {
	err := c.Publisher.Publish(topic, messages...)
	if err == nil {
		c.sent.Add(int64(len(messages)))
	}
	return err
}

func (s *stockKafka) start(ctx context.Context, b behaviour) error {
	var subscribers []*wkafka.Subscriber
	for _, group := range groups {
		settings := wkafka.DefaultSaramaSubscriberConfig()
		settings.Version = sarama.V3_6_0_0
		settings.Consumer.Offsets.Initial = sarama.OffsetOldest
		sub, err := wkafka.NewSubscriber(wkafka.SubscriberConfig{
			Brokers: s.kafka.brokers, Unmarshaler: byKey, OverwriteSaramaConfig: settings, ConsumerGroup: s.target + "." + group,
		}, watermill.NopLogger{})
		if err != nil {
			return err
		}
		subscribers = append(subscribers, sub)
	}
	if err := s.listen(ctx, b, s.target, func(group int) message.Subscriber { return subscribers[group] }); err != nil {
		return err
	}
	_, _, err := s.relay(ctx)
	return err
}

func (s *stockKafka) stop() error {
	return errors.Join(s.forwarding.Close(), <-s.ended, s.publisher.Close(), s.stock.stop())
}

func (s *stockKafka) close() error { return errors.Join(s.stock.close(), s.kafka.remove(s.target)) }
