package kafkabridge

import (
	"context"
	"fmt"
	"sync"

	"github.com/ThreeDotsLabs/watermill"
	kafka "github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"

	"millrace/platform/bus/store"
)

// publisher sends rows with watermill-kafka's Publisher. The Publisher waits for
// the brokers after each message, so the rows of a batch are published at the same
// time, and batchProducer sends them with one call, in their order.
type publisher struct {
	prefix    string
	watermill *kafka.Publisher
}

func newPublisher(cfg Config) (*publisher, error) {
	settings, err := cfg.producer()
	if err != nil {
		return nil, err
	}
	p, err := kafka.NewPublisher(kafka.PublisherConfig{
		Brokers: cfg.Brokers, Marshaler: marshaler{}, OverwriteSaramaConfig: settings, Tracer: batching{},
	}, watermill.NopLogger{}) // it logs traces only
	if err != nil {
		return nil, cfg.unreachable(err)
	}
	return &publisher{cfg.Prefix, p}, nil
}

// publish sends rows of one topic, and returns how many of them the brokers have
// acknowledged before the first that failed. A later one may have arrived, too: it is
// sent again, and dropped by its sequence number.
func (p *publisher) publish(rows []store.Row) (confirmed int, err error) {
	topic := p.prefix + rows[0].Topic
	together := newTogether(len(rows))
	failures := make([]error, len(rows))
	var all sync.WaitGroup
	for i, row := range rows {
		all.Go(func() {
			msg := messageOf(row)
			msg.SetContext(context.WithValue(context.Background(), slotKey{}, slot{together, i}))
			failures[i] = p.watermill.Publish(topic, msg)
		})
	}
	all.Wait()
	for i, failed := range failures {
		if failed != nil {
			return i, fmt.Errorf("message %s (%s): %w", rows[i].ID, rows[i].Type, failed)
		}
	}
	return len(rows), nil
}

// close must not be called during publish: the library's producer panics then.
func (p *publisher) close() error { return p.watermill.Close() }
