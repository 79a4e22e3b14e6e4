package kafkatransport

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
	"millrace/platform/bus/kafkatransport/fakebroker"
	"millrace/platform/bus/relay"
	"millrace/platform/bus/store"
)

// patience bounds every wait; the machine may be busy.
const patience = 3 * time.Minute // what the library retries may take one

type unit struct {
	name  string
	says  []bus.Event
	sends []bus.Command
	hears []bus.Subscription
}

func (u unit) Name() string                      { return u.name }
func (u unit) Publishes() []bus.Event            { return u.says }
func (u unit) Sends() []bus.Command              { return u.sends }
func (u unit) Subscriptions() []bus.Subscription { return u.hears }

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

// houses are a shop that says and sends, and a store that hears and handles.
func houses() []bus.Module {
	return []bus.Module{
		unit{name: "shop", says: []bus.Event{paid{}, noted{}}, sends: []bus.Command{pack{}}},
		unit{name: "store", hears: []bus.Subscription{bus.On(never), bus.Handle(neverPack)}},
	}
}

func topology(t testing.TB, parts ...bus.Module) *bus.Topology {
	t.Helper()
	if parts == nil {
		parts = houses()
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

// made creates topics and returns a forwarder.
func made(t testing.TB, cfg Config, topics ...string) *forwarder {
	t.Helper()
	a, err := newTopicAdmin(cfg)
	require.NoError(t, err)
	t.Cleanup(a.close)
	_, err = a.create(t.Context(), topics)
	require.NoError(t, err)
	f, err := newForwarder(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { f.close(time.Second) })
	return f
}

// database keeps what it receives; refuse makes it fail.
type database struct {
	forgetful
	mu     sync.Mutex
	marks  map[place]store.Checkpoint
	rows   []store.Row
	calls  int
	refuse bool
	moved  chan struct{}
}

func newStore() *database {
	return &database{moved: make(chan struct{}, 1), marks: map[place]store.Checkpoint{}}
}

func (s *database) Receive(_ context.Context, _ string, rows []store.Row, marks ...store.Checkpoint) error {
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
		return errors.New("the database is away")
	}
	s.rows = append(s.rows, rows...)
	for _, m := range marks {
		known := s.marks[place{m.Topic, m.Partition}]
		if known.TopicID != m.TopicID || known.To < m.From {
			return relay.ErrBehind
		}
		known.To = max(known.To, m.To)
		s.marks[place{m.Topic, m.Partition}] = known
	}
	return nil
}

func (s *database) Checkpoints(context.Context, string) (all []store.Checkpoint, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.marks {
		all = append(all, m)
	}
	return all, nil
}

func (s *database) Flush(ctx context.Context, module string) ([]store.Checkpoint, error) {
	return s.Checkpoints(ctx, module)
}

func (s *database) BeginAt(_ context.Context, _ string, marks []store.Checkpoint) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range marks {
		if known, ok := s.marks[place{m.Topic, m.Partition}]; !ok || known.TopicID != m.TopicID {
			s.marks[place{m.Topic, m.Partition}] = m
		}
	}
	return nil
}

// forgetful is a database that knows nothing of what it received.
type forgetful struct{}

func (forgetful) Checkpoints(context.Context, string) ([]store.Checkpoint, error) { return nil, nil }

func (forgetful) Flush(context.Context, string) ([]store.Checkpoint, error) { return nil, nil }

func (forgetful) BeginAt(context.Context, string, []store.Checkpoint) error { return nil }

func (forgetful) Superseded(_ context.Context, rows []store.Row) ([]bool, error) {
	return make([]bool, len(rows)), nil
}

func (s *database) set(refuse bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = refuse
}

// until waits for a state of the store and returns its rows.
func (s *database) until(t testing.TB, what string, holds func(rows []store.Row, calls int) bool) []store.Row {
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
			require.FailNow(t, "waited in vain for "+what, "%d rows, %d calls", len(rows), calls)
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

// receiving starts an intake until the test's end.
func receiving(t testing.TB, cfg Config, to receiver) *intake {
	t.Helper()
	a, err := newTopicAdmin(cfg)
	require.NoError(t, err)
	t.Cleanup(a.close)
	in := newIntake(cfg, "store", []string{"shop.events"}, topology(t), to, a, &counters{})
	in.start()
	t.Cleanup(func() { leave(t, in) })
	return in
}

func leave(t testing.TB, in *intake) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	require.NoError(t, in.stop(ctx))
}

// eventually polls what signals nothing.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !holds(); <-tick.C {
		require.True(t, time.Now().Before(deadline), "waited in vain for %s", what)
	}
}

// consumed reads every record of a topic with the library's plain consumer.
func consumed(t testing.TB, cfg Config, topic string, n int) []*sarama.ConsumerMessage {
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
			require.FailNow(t, "waited in vain for records", "%d of %d", len(found), n)
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
