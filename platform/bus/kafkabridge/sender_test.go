package kafkabridge

import (
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/platform/bus/envelope"
	"millrace/platform/bus/kafkabridge/fakebroker"
	"millrace/platform/bus/store"
	"millrace/platform/errs"
)

// freeze has a broker accept requests of some kinds and answer none until thaw is called.
// entered is closed by the first request.
func freeze(t *testing.T, b *kfake.Cluster, keys ...kmsg.Key) (entered <-chan struct{}, thaw func()) {
	t.Helper()
	in, gate := make(chan struct{}), make(chan struct{})
	var first, once sync.Once
	for _, key := range keys {
		b.ControlKey(int16(key), func(kmsg.Request) (kmsg.Response, error, bool) {
			b.KeepControl()
			first.Do(func() { close(in) })
			b.SleepControl(func() { <-gate })
			return nil, nil, false
		})
	}
	thaw = func() { once.Do(func() { close(gate) }) }
	t.Cleanup(thaw)
	return in, thaw
}

func TestSender_SendsRowsInOrderToPartitionOfTheirKey(t *testing.T) {
	t.Parallel()
	cfg := configFor(fake(t))
	s := newTestSender(t, cfg, "shop.events")
	for first := 1; first < 1500; first += 500 {
		confirmed, err := s.Forward(t.Context(), rowsOf("order-1", first, 500))
		require.NoError(t, err)
		require.Equal(t, 500, confirmed)
	}
	for i, m := range readTopic(t, cfg, "shop.events", 1500) {
		require.Equal(t, strconv.Itoa(i+1), header(m, envelope.Sequence))
		require.EqualValues(t, store.PartitionOf("order-1")%4, m.Partition)
	}
	require.Empty(t, s.failures(0))
}

func TestSender_ConfirmsRowsBeforeFirstFailure(t *testing.T) {
	t.Parallel()
	b := fake(t)
	cfg := configFor(b)
	s := newTestSender(t, cfg, "shop.events")
	rows := rowsOf("order-1", 1, 10)
	rows[4].Payload = make([]byte, 2<<20) // the sender does not check sizes: this is more than any broker accepts
	confirmed, err := s.Forward(t.Context(), rows)
	require.Equal(t, 4, confirmed)
	require.Equal(t, errs.Resource, errs.KindOf(err))
	require.ErrorContains(t, err, rows[4].ID.String()+" (shop.paid)")
	require.NotEmpty(t, s.failures(0), "a refused record blocks its partition, and is reported")

	confirmed, err = s.Forward(t.Context(), append(rows[4:5:5], rows[5:]...))
	require.Zero(t, confirmed)
	require.Error(t, err)

	rows[4].Payload = []byte(`{}`)
	confirmed, err = s.Forward(t.Context(), rows[4:])
	require.NoError(t, err)
	require.Equal(t, 6, confirmed)
	require.Empty(t, s.failures(0))
	seen := map[string]int{}
	for _, m := range readTopic(t, cfg, "shop.events", 20) { // 6 to 10 three times
		seen[header(m, envelope.Sequence)]++
	}
	for n := 1; n <= 10; n++ {
		require.Positive(t, seen[strconv.Itoa(n)], "%d is lost", n)
	}
}

// With these faults the stock producer returns an error, or writes a record twice.
func TestSender_TransientFaultCausesNoErrorAndNoDuplicate(t *testing.T) {
	t.Parallel()
	b := fake(t)
	cfg := configFor(b)
	s := newTestSender(t, cfg, "shop.events")
	next := 1
	for _, fault := range []*kerr.Error{kerr.NotLeaderForPartition, kerr.RequestTimedOut, kerr.NotEnoughReplicasAfterAppend, kerr.NotEnoughReplicas} {
		h := b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "shop.events", Err: fault, Count: 2})
		confirmed, err := s.Forward(t.Context(), rowsOf("order-1", next, 20))
		require.NoError(t, err, "%s", fault.Message)
		require.Equal(t, 20, confirmed)
		require.Positive(t, h.Hits(), "%s", fault.Message)
		h.Remove()
		next += 20
	}
	for i, m := range readTopic(t, cfg, "shop.events", 80) {
		require.Equal(t, strconv.Itoa(i+1), header(m, envelope.Sequence))
	}
}

func TestSender_TimesOutAndNextCallWaitsForSameBatch(t *testing.T) {
	t.Parallel()
	b := fake(t)
	cfg := configFor(b)
	s := newTestSender(t, cfg, "shop.events")
	_, err := s.Forward(t.Context(), rowsOf("order-1", 1, 5))
	require.NoError(t, err)
	s.timeout = 200 * time.Millisecond
	entered, thaw := freeze(t, b.Cluster, kmsg.Produce)

	rows := rowsOf("order-1", 6, 5)
	confirmed, err := s.Forward(t.Context(), rows)
	require.Zero(t, confirmed)
	require.Equal(t, errs.Resource, errs.KindOf(err))
	require.ErrorContains(t, err, "broker unavailable since")
	<-entered
	require.Len(t, s.failures(0), 1)
	require.Empty(t, s.failures(time.Hour))
	require.Len(t, s.sending, 1)

	_, err = s.Forward(t.Context(), rows)
	require.ErrorContains(t, err, "broker unavailable since", "the second call waits too")
	s.timeout = patience
	answer := make(chan int)
	go func() {
		confirmed, _ := s.Forward(t.Context(), rows) //nolint:errcheck // the number is enough
		answer <- confirmed
	}()
	thaw()
	require.Equal(t, 5, <-answer)
	written := int64(0)
	for _, p := range b.PartitionInfos("shop.events") {
		written += p.HighWatermark
	}
	require.EqualValues(t, 10, written, "the rows were sent once")
	require.Empty(t, s.failures(0))
}

func TestSender_ClosesInTimeWhileBrokersHang(t *testing.T) {
	t.Parallel()
	b := fake(t)
	cfg := configFor(b)
	s := newTestSender(t, cfg, "shop.events")
	entered, _ := freeze(t, b.Cluster, kmsg.Produce)
	answer := make(chan error)
	go func() {
		_, err := s.Forward(t.Context(), rowsOf("order-1", 1, 5))
		answer <- err
	}()
	<-entered
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		s.close(100 * time.Millisecond)
	}()
	require.Equal(t, errs.Shutdown, errs.KindOf(<-answer))
	select {
	case <-closed:
	case <-time.After(patience):
		require.FailNow(t, "close hangs with the broker")
	}
}

func TestSender_SendsPartitionsConcurrently(t *testing.T) {
	t.Parallel()
	cfg := configFor(fake(t))
	s := newTestSender(t, cfg, "shop.events")
	var all sync.WaitGroup
	for k := range 32 {
		all.Go(func() {
			for first := 1; first < 100; first += 10 {
				if n, err := s.Forward(t.Context(), rowsOf("order-"+strconv.Itoa(k), first, 10)); err != nil || n != 10 {
					t.Errorf("%d: %d %v", k, n, err)
				}
			}
		})
	}
	all.Wait()
	next := map[string]int{}
	for _, m := range readTopic(t, cfg, "shop.events", 3200) {
		next[string(m.Key)]++
		require.Equal(t, strconv.Itoa(next[string(m.Key)]), header(m, envelope.Sequence), "order of %s", m.Key)
	}
}

// produced counts the produce requests to the broker.
func produced(b *fakebroker.Broker) *atomic.Int32 {
	var requests atomic.Int32
	b.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		b.KeepControl()
		requests.Add(1)
		return nil, nil, false
	})
	return &requests
}

// The stock publisher makes a request for each row.
func TestSender_SendsManyRowsInFewRequests(t *testing.T) {
	t.Parallel()
	const rows = 500
	b := fake(t)
	cfg := configFor(b)
	s := newTestSender(t, cfg, "shop.events")
	requests := produced(b)
	confirmed, err := s.Forward(t.Context(), rowsOf("order-1", 1, rows))
	require.NoError(t, err)
	require.Equal(t, rows, confirmed)
	require.Positive(t, requests.Load())
	require.LessOrEqual(t, requests.Load(), int32(rows/10), "they go in batches")
}

// slowProducer acknowledges when the test allows it. It records a close during a call, by
// which the library's producer panics (send on closed channel).
type slowProducer struct {
	calls    atomic.Int64
	inside   atomic.Int64
	panics   atomic.Bool
	confirms chan struct{}
}

func (p *slowProducer) publish(rows []store.Row) (int, error) {
	p.calls.Add(1)
	p.inside.Add(1)
	defer p.inside.Add(-1)
	<-p.confirms
	return len(rows), nil
}

func (p *slowProducer) close() error {
	p.panics.Store(p.inside.Load() > 0)
	return nil
}

// Close may come without Drain, while relays work.
func TestSender_ClosesProducerAfterLastCall(t *testing.T) {
	t.Parallel()
	p := &slowProducer{confirms: make(chan struct{})}
	s := &sender{timeout: time.Minute, log: slog.New(slog.DiscardHandler), producer: p,
		closed: make(chan struct{}), sending: map[flight]*batch{}, failing: map[outgoing]failure{}}
	rows := func(partition int) []store.Row {
		return []store.Row{{ID: uuid.New(), Type: "shop.paid", Topic: "shop.events", Source: "shop", Key: "k", Partition: partition, Sequence: 1}}
	}
	var relays sync.WaitGroup
	for partition := range 8 {
		relays.Go(func() { _, _ = s.Forward(t.Context(), rows(partition)) })
	}
	require.Eventually(t, func() bool { return p.inside.Load() == 8 }, time.Minute, time.Millisecond)
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		s.close(time.Minute)
	}()
	relays.Wait() // each returns when the sender is closed
	_, err := s.Forward(t.Context(), rows(9))
	require.ErrorContains(t, err, "the Kafka producer is closed")
	require.EqualValues(t, 8, p.calls.Load(), "nothing is sent once it closes")
	close(p.confirms)
	<-closed
	require.False(t, p.panics.Load(), "closed under a call")
}

// A topic is deleted and created again while a batch is on its way: the brokers may
// acknowledge what is lost with the deleted topic.
func TestSender_SendsRowsAgainToATopicWithAnotherID(t *testing.T) {
	t.Parallel()
	p := &slowProducer{confirms: make(chan struct{})}
	s := &sender{timeout: patience, log: logger(), producer: p, closed: make(chan struct{}), sending: map[flight]*batch{}, failing: map[outgoing]failure{}}
	confirmed := make(chan int)
	for i, topicID := range []string{"deleted", "created"} {
		rows := rowsOf("order-1", 1, 1)
		rows[0].ID, rows[0].TopicID = uuid.UUID{1}, topicID
		go func() {
			n, _ := s.Forward(t.Context(), rows) //nolint:errcheck // the number shows it
			confirmed <- n
		}()
		eventually(t, "another call of the producer", func() bool { return p.calls.Load() == int64(i+1) })
	}
	close(p.confirms)
	require.Equal(t, 1, <-confirmed)
	require.Equal(t, 1, <-confirmed)
}
