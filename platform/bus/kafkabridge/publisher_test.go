package kafkabridge

import (
	"errors"
	"sync"
	"testing"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill"
	kafka "github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	"github.com/stretchr/testify/require"

	"millrace/platform/bus/envelope"
)

// recordingProducer records the calls, and returns what fail returns.
type recordingProducer struct {
	sarama.SyncProducer
	mu    sync.Mutex
	calls [][]*sarama.ProducerMessage
	fail  func(records []*sarama.ProducerMessage) error
}

func (p *recordingProducer) SendMessages(records []*sarama.ProducerMessage) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, records)
	return p.fail(records)
}

// publisherOver returns a publisher whose Publisher of watermill-kafka sends to p
// instead of the brokers.
func publisherOver(t *testing.T, p sarama.SyncProducer) *publisher {
	t.Helper()
	cfg := configFor(fake(t))
	settings, err := cfg.producer()
	require.NoError(t, err)
	w, err := kafka.NewPublisher(kafka.PublisherConfig{
		Brokers: cfg.Brokers, Marshaler: marshaler{}, OverwriteSaramaConfig: settings, Tracer: replacing{with: p},
	}, watermill.NopLogger{})
	require.NoError(t, err)
	return &publisher{"", w}
}

type replacing struct {
	kafka.SaramaTracer
	with sarama.SyncProducer
}

func (r replacing) WrapSyncProducer(_ *sarama.Config, p sarama.SyncProducer) sarama.SyncProducer {
	_ = p.Close() // nothing was sent
	return batchProducer{r.with}
}

// A process may be killed at any moment: if rows were sent one by one, the brokers could have
// a later row and not an earlier one.
func TestPublisher_SendsBatchWithOneCallInOrder(t *testing.T) {
	t.Parallel()
	p := &recordingProducer{fail: func([]*sarama.ProducerMessage) error { return nil }}
	rows := append(rowsOf("order-1", 1, 300), rowsOf("order-2", 1, 200)...)
	confirmed, err := publisherOver(t, p).publish(rows)
	require.NoError(t, err)
	require.Equal(t, len(rows), confirmed)
	require.Len(t, p.calls, 1)
	require.Len(t, p.calls[0], len(rows))
	for i, record := range p.calls[0] {
		require.Equal(t, rows[i].ID.String(), headerOf(record, envelope.ID))
	}
}

func TestPublisher_ConfirmsRowsBeforeFirstFailure(t *testing.T) {
	t.Parallel()
	away := errors.New("broker is away")
	for name, c := range map[string]struct {
		fail      func(records []*sarama.ProducerMessage) error
		confirmed int
	}{
		"All": {func([]*sarama.ProducerMessage) error { return away }, 0},
		"Some": {func(records []*sarama.ProducerMessage) error {
			return sarama.ProducerErrors{{Msg: records[7], Err: away}, {Msg: records[3], Err: away}}
		}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rows := rowsOf("order-1", 1, 10)
			confirmed, err := publisherOver(t, &recordingProducer{fail: c.fail}).publish(rows)
			require.Equal(t, c.confirmed, confirmed)
			require.ErrorIs(t, err, away)
			require.ErrorContains(t, err, rows[c.confirmed].ID.String())
		})
	}
}

func headerOf(record *sarama.ProducerMessage, name string) string {
	for _, h := range record.Headers {
		if string(h.Key) == name {
			return string(h.Value)
		}
	}
	return ""
}
