package kafkabridge

import (
	"errors"
	"sync/atomic"

	"github.com/IBM/sarama"
	kafka "github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
)

// batching has watermill-kafka's Publisher send through a batchProducer. The
// Publisher's hook for it is named after its usual purpose, tracing.
type batching struct{ kafka.SaramaTracer }

// WrapSyncProducer implements kafka.SaramaTracer. The Publisher calls none of the
// other methods.
func (batching) WrapSyncProducer(_ *sarama.Config, p sarama.SyncProducer) sarama.SyncProducer {
	return batchProducer{p}
}

// batchProducer sends records that are published together with one call of the
// client library, in the order of their slots. The library keeps that order in a
// partition, so if the process is killed meanwhile, the brokers have the first of
// the rows without gaps. A gap would block its partition at every consumer until
// the rows are sent again.
type batchProducer struct{ sarama.SyncProducer }

// SendMessage returns when all records of the batch were sent, with this record's own error.
// The last caller sends them.
func (p batchProducer) SendMessage(record *sarama.ProducerMessage) (partition int32, offset int64, err error) {
	s, ok := record.Metadata.(slot)
	if !ok {
		return 0, 0, errors.New("the message was published without a slot")
	}
	s.together.records[s.index] = record
	if s.together.missing.Add(-1) == 0 {
		s.together.send(p.SyncProducer)
	}
	<-s.together.sent
	return record.Partition, record.Offset, s.together.failures[s.index]
}

// together is the records of messages that are published at the same time. Each of
// them must reach SendMessage, or the others wait for it.
type together struct {
	records  []*sarama.ProducerMessage
	missing  atomic.Int64
	sent     chan struct{} // closed when failures is complete
	failures []error
}

func newTogether(messages int) *together {
	t := &together{
		records: make([]*sarama.ProducerMessage, messages), failures: make([]error, messages), sent: make(chan struct{}),
	}
	t.missing.Store(int64(messages))
	return t
}

func (t *together) send(p sarama.SyncProducer) {
	defer close(t.sent)
	err := p.SendMessages(t.records)
	var each sarama.ProducerErrors
	if !errors.As(err, &each) || len(each) == 0 {
		for i := range t.failures {
			t.failures[i] = err
		}
		return
	}
	for _, one := range each {
		if s, ok := one.Msg.Metadata.(slot); ok {
			t.failures[s.index] = one.Err
		}
	}
}

// slot is the position of a message among those that are published together. It
// travels in the message's context to the marshaler, and in the record's Metadata
// to the batchProducer.
type slot struct {
	together *together
	index    int
}

type slotKey struct{}
