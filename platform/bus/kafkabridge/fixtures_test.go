package kafkabridge

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"millrace/platform/bus"
	"millrace/platform/bus/envelope"
	"millrace/platform/bus/kafkabridge/fakebroker"
	"millrace/platform/bus/relay"
	"millrace/platform/bus/store"
)

// patience limits every wait. What the client library retries may take a minute.
const patience = 3 * time.Minute

type module struct {
	name       string
	publishes  []bus.Event
	sends      []bus.Command
	subscribes []bus.Subscription
}

func (u module) Name() string                      { return u.name }
func (u module) Publishes() []bus.Event            { return u.publishes }
func (u module) Sends() []bus.Command              { return u.sends }
func (u module) Subscriptions() []bus.Subscription { return u.subscribes }

type paid struct {
	Order string `json:"order"`
	N     int    `json:"n"`
}

func (paid) EventName() string { return "shop.paid" }
func (p paid) Key() string     { return p.Order }

type noted struct{}

func (noted) EventName() string { return "shop.noted" }
func (noted) Key() string       { return "k" }

type pack struct {
	Order string `json:"order"`
}

func (pack) CommandName() string { return "store.pack" }
func (p pack) Key() string       { return p.Order }

func never(context.Context, *bus.Tx, paid) error     { return nil }
func neverPack(context.Context, *bus.Tx, pack) error { return nil }

// modules are a shop that publishes and sends, and a store that subscribes and handles.
func modules() []bus.Module {
	return []bus.Module{
		module{name: "shop", publishes: []bus.Event{paid{}, noted{}}, sends: []bus.Command{pack{}}},
		module{name: "store", subscribes: []bus.Subscription{bus.On(never), bus.Handle(neverPack)}},
	}
}

func topology(t testing.TB, parts ...bus.Module) *bus.Topology {
	t.Helper()
	if parts == nil {
		parts = modules()
	}
	topo, err := bus.NewTopology(parts...)
	require.NoError(t, err)
	return topo
}

func fake(t testing.TB, options ...kfake.Opt) *fakebroker.Broker {
	t.Helper()
	b, err := fakebroker.Start(append(options, kfake.GroupMinSessionTimeout(500*time.Millisecond))...)
	require.NoError(t, err)
	t.Cleanup(b.Close)
	return b
}

func configFor(b *fakebroker.Broker) Config {
	return Config{
		Brokers: b.Addresses(), Partitions: 4, Session: 3 * time.Second, Sweep: 50 * time.Millisecond,
		Logger: logger(),
	}.withDefaults()
}

// rowsOf are events of one key, numbered from first.
func rowsOf(key string, first, n int) []store.Row {
	rows := make([]store.Row, n)
	for i := range rows {
		rows[i] = store.Row{
			Topic: "shop.events", Source: "shop", Partition: store.PartitionOf(key), Sequence: int64(first + i),
			ID: uuid.Must(uuid.NewV7()), Type: "shop.paid", Key: key, Payload: []byte(`{"order":"` + key + `"}`),
			Metadata: map[string]string{envelope.Source: "shop", envelope.ContentType: "application/json"},
		}
	}
	return rows
}

// recordOf returns the record that the publisher sends for a row.
func recordOf(t testing.TB, prefix string, row store.Row) *sarama.ProducerMessage {
	t.Helper()
	m, err := marshaler{}.Marshal(prefix+row.Topic, messageOf(row))
	require.NoError(t, err)
	return m
}

// newTestSender creates topics, and returns a sender that the test closes.
func newTestSender(t testing.TB, cfg Config, topics ...string) *sender {
	t.Helper()
	a, err := newTopicAdmin(cfg)
	require.NoError(t, err)
	t.Cleanup(a.close)
	_, err = a.create(t.Context(), topics)
	require.NoError(t, err)
	f, err := newSender(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { f.close(time.Second) })
	return f
}

// fakeInbound keeps what it receives. With refuse it returns an error.
type fakeInbound struct {
	emptyInbound
	mu          sync.Mutex
	checkpoints map[topicPartition]store.Checkpoint
	rows        []store.Row
	calls       int
	refuse      bool
	moved       chan struct{}
}

func newFakeInbound() *fakeInbound {
	return &fakeInbound{moved: make(chan struct{}, 1), checkpoints: map[topicPartition]store.Checkpoint{}}
}

func (s *fakeInbound) Receive(_ context.Context, _ string, rows []store.Row, checkpoints ...store.Checkpoint) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() {
		select {
		case s.moved <- struct{}{}:
		default:
		}
	}()
	s.calls++
	if s.refuse {
		return errors.New("the database is unavailable")
	}
	s.rows = append(s.rows, rows...)
	for _, m := range checkpoints {
		known := s.checkpoints[topicPartition{m.Topic, m.Partition}]
		if known.TopicID != m.TopicID || known.To < m.From {
			return relay.ErrBehind
		}
		known.To = max(known.To, m.To)
		s.checkpoints[topicPartition{m.Topic, m.Partition}] = known
	}
	return nil
}

func (s *fakeInbound) Checkpoints(context.Context, string) (all []store.Checkpoint, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.checkpoints {
		all = append(all, m)
	}
	return all, nil
}

func (s *fakeInbound) Flush(ctx context.Context, module string) ([]store.Checkpoint, error) {
	return s.Checkpoints(ctx, module)
}

func (s *fakeInbound) BeginAt(_ context.Context, _ string, checkpoints []store.Checkpoint) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range checkpoints {
		if known, ok := s.checkpoints[topicPartition{m.Topic, m.Partition}]; !ok || known.TopicID != m.TopicID {
			s.checkpoints[topicPartition{m.Topic, m.Partition}] = m
		}
	}
	return nil
}

// emptyInbound has no checkpoints, whatever it received.
type emptyInbound struct{}

func (emptyInbound) Checkpoints(context.Context, string) ([]store.Checkpoint, error) { return nil, nil }

func (emptyInbound) Flush(context.Context, string) ([]store.Checkpoint, error) { return nil, nil }

func (emptyInbound) BeginAt(context.Context, string, []store.Checkpoint) error { return nil }

func (emptyInbound) Superseded(_ context.Context, rows []store.Row) ([]bool, error) {
	return make([]bool, len(rows)), nil
}

func (s *fakeInbound) set(refuse bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = refuse
}

// until waits for a state and returns the rows.
func (s *fakeInbound) until(t testing.TB, what string, holds func(rows []store.Row, calls int) bool) []store.Row {
	t.Helper()
	deadline := time.After(patience)
	for {
		s.mu.Lock()
		rows, calls := append([]store.Row(nil), s.rows...), s.calls
		s.mu.Unlock()
		if holds(rows, calls) {
			return rows
		}
		select {
		case <-s.moved:
		case <-deadline:
			require.FailNow(t, "timed out waiting for "+what, "%d rows, %d calls", len(rows), calls)
		}
	}
}

// sequences counts how often each number arrived.
func sequences(rows []store.Row) map[int64]int {
	seen := map[int64]int{}
	for _, row := range rows {
		seen[row.Sequence]++
	}
	return seen
}

// startConsumer starts a consumer, and stops it at the end of the test.
func startConsumer(t testing.TB, cfg Config, to inbound) *consumer {
	t.Helper()
	a, err := newTopicAdmin(cfg)
	require.NoError(t, err)
	t.Cleanup(a.close)
	in := newConsumer(a, uuid.New(), "store", []string{"shop.events"}, topology(t), to, &counters{})
	in.start()
	t.Cleanup(func() { stopConsumer(t, in) })
	return in
}

func stopConsumer(t testing.TB, in *consumer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	require.NoError(t, in.stop(ctx))
}

// eventually polls until holds returns true.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !holds(); <-tick.C {
		require.True(t, time.Now().Before(deadline), "timed out waiting for %s", what)
	}
}

// readTopic reads every record of a topic with the library's plain consumer.
func readTopic(t testing.TB, cfg Config, topic string, n int) []*sarama.ConsumerMessage {
	t.Helper()
	settings, err := cfg.consumer()
	require.NoError(t, err)
	consumer, err := sarama.NewConsumer(cfg.Brokers, settings)
	require.NoError(t, err)
	defer consumer.Close()
	partitions, err := consumer.Partitions(topic)
	require.NoError(t, err)
	all := make(chan *sarama.ConsumerMessage)
	done := make(chan struct{})
	defer close(done)
	for _, p := range partitions {
		part, err := consumer.ConsumePartition(topic, p, sarama.OffsetOldest)
		require.NoError(t, err)
		go func() {
			for {
				select {
				case m := <-part.Messages():
					select {
					case all <- m:
					case <-done:
						part.AsyncClose()
						return
					}
				case <-done:
					part.AsyncClose()
					return
				}
			}
		}()
	}
	var found []*sarama.ConsumerMessage
	deadline := time.After(patience)
	for len(found) < n {
		select {
		case m := <-all:
			found = append(found, m)
		case <-deadline:
			require.FailNow(t, "timed out waiting for records", "%d of %d", len(found), n)
		}
	}
	return found
}

func header(m *sarama.ConsumerMessage, name string) string {
	for _, h := range m.Headers {
		if string(h.Key) == name {
			return string(h.Value)
		}
	}
	return ""
}

func logger() *slog.Logger {
	if os.Getenv("LOUD") != "" {
		return slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	return slog.New(slog.DiscardHandler)
}

func forwardAll(t testing.TB, f *sender, rows []store.Row) {
	t.Helper()
	confirmed, err := f.Forward(t.Context(), rows)
	require.NoError(t, err)
	require.Len(t, rows, confirmed)
}

// has waits until each number from 1 to n arrived.
func (s *fakeInbound) has(t testing.TB, n int) []store.Row {
	t.Helper()
	return s.until(t, "every number", func(rows []store.Row, _ int) bool { return len(sequences(rows)) == n })
}

// produce writes a record as any client may.
func produce(t testing.TB, cfg Config, m *sarama.ProducerMessage) {
	t.Helper()
	settings, err := cfg.producer()
	require.NoError(t, err)
	p, err := sarama.NewSyncProducer(cfg.Brokers, settings)
	require.NoError(t, err)
	_, _, err = p.SendMessage(m)
	require.NoError(t, err)
	require.NoError(t, p.Close())
}
