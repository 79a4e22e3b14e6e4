package kafkabridge

import (
	"context"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill"
	kafka "github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"millrace/platform/bus"
	"millrace/platform/bus/envelope"
	"millrace/platform/bus/store"
)

// brokersVariable has the addresses of real brokers for the benchmarks; without it they use
// the fake broker. go test -run ^$ -bench . -benchtime 3x
const brokersVariable = "MILLRACE_BENCH_BROKERS"

func benchConfig(b *testing.B) Config {
	b.Helper()
	cfg := Config{Brokers: strings.Split(os.Getenv(brokersVariable), ","), Partitions: 8, Logger: logger()}.withDefaults()
	if cfg.Brokers[0] == "" {
		cfg.Brokers = fake(b).Addresses()
	}
	cfg.Prefix = strconv.FormatInt(time.Now().UnixNano(), 36) + "."
	return cfg
}

// ourMarshaler reads our records for the stock Subscriber.
type ourMarshaler struct {
	cfg  Config
	topo *bus.Topology
}

func (m ourMarshaler) Unmarshal(c *sarama.ConsumerMessage) (*message.Message, error) {
	row := read(m.topo, c.Topic[len(m.cfg.Prefix):], c)
	msg := message.NewMessage(row.ID.String(), row.Payload)
	msg.Metadata = row.Metadata
	msg.Metadata[envelope.Sequence] = strconv.FormatInt(row.Sequence, 10)
	return msg, nil
}

// backlog is 8 partitions of 500 rows with so many keys each.
func backlog(round, keys int) (partitions [][]store.Row) {
	for l := range 8 {
		rows := rowsOf("x", round*500+1, 500)
		for i := range rows {
			rows[i].Partition, rows[i].Key = l, "key-"+strconv.Itoa(l)+"-"+strconv.Itoa(i%keys)
			rows[i].Payload = []byte(strings.Repeat("x", 280))
		}
		partitions = append(partitions, rows)
	}
	return partitions
}

// BenchmarkSending compares the ways to send relays' rows: watermill-kafka's
// Publisher in parallel per key, one call of the client library per batch, and
// ours: the Publisher, through a batchProducer.
func BenchmarkSending(b *testing.B) {
	stock := func(cfg Config) *kafka.Publisher {
		settings, err := cfg.producer()
		require.NoError(b, err)
		p, err := kafka.NewPublisher(kafka.PublisherConfig{Brokers: cfg.Brokers, Marshaler: marshaler{}, OverwriteSaramaConfig: settings}, watermill.NopLogger{})
		require.NoError(b, err)
		b.Cleanup(func() { require.NoError(b, p.Close()) })
		return p
	}
	ways := []struct {
		name string
		open func(cfg Config) func(rows []store.Row) error
	}{
		{"PublisherPerKey", func(cfg Config) func(rows []store.Row) error {
			p := stock(cfg)
			return func(rows []store.Row) error {
				keys := map[string][]*message.Message{}
				for _, row := range rows {
					keys[row.Key] = append(keys[row.Key], messageOf(row))
				}
				var all errgroup.Group
				for _, messages := range keys {
					all.Go(func() error { return p.Publish(cfg.Prefix+rows[0].Topic, messages...) })
				}
				return all.Wait()
			}
		}},
		{"SendMessages", func(cfg Config) func(rows []store.Row) error {
			settings, err := cfg.producer()
			require.NoError(b, err)
			p, err := sarama.NewSyncProducer(cfg.Brokers, settings)
			require.NoError(b, err)
			b.Cleanup(func() { require.NoError(b, p.Close()) })
			return func(rows []store.Row) error {
				records := make([]*sarama.ProducerMessage, len(rows))
				for i, row := range rows {
					records[i] = recordOf(b, cfg.Prefix, row)
				}
				return p.SendMessages(records)
			}
		}},
		{"Ours", func(cfg Config) func(rows []store.Row) error {
			p, err := newPublisher(cfg)
			require.NoError(b, err)
			b.Cleanup(func() { require.NoError(b, p.close()) })
			return func(rows []store.Row) error {
				_, err := p.publish(rows)
				return err
			}
		}},
	}
	for _, keys := range []int{500, 64, 1} {
		for _, way := range ways {
			b.Run(strconv.Itoa(keys)+"Keys/"+way.name, func(b *testing.B) {
				cfg := benchConfig(b)
				newTestSender(b, cfg, "shop.events")
				way := way.open(cfg)
				send := func(round int) {
					var all sync.WaitGroup
					for _, rows := range backlog(round, keys) {
						all.Go(func() { require.NoError(b, way(rows)) })
					}
					all.Wait()
				}
				send(0) // connections, leaders, a warm broker
				for round := 1; b.Loop(); round++ {
					send(round)
				}
				b.ReportMetric(float64(b.N)*4000/b.Elapsed().Seconds(), "rows/s")
			})
		}
	}
}

// slow simulates the transaction that stores rows: 1.5 ms and 10 µs for each row.
type slow struct {
	emptyInbound
	rows, calls atomic.Int64
}

func (s *slow) Receive(_ context.Context, _ string, rows []store.Row, _ ...store.Checkpoint) error {
	<-time.After(1500*time.Microsecond + time.Duration(len(rows))*10*time.Microsecond)
	s.rows.Add(int64(len(rows)))
	s.calls.Add(1)
	return nil
}

// BenchmarkReceiving compares the stock Subscriber, which waits for each record's ack in its
// partition, with the consumer, which stores many records in one transaction.
func BenchmarkReceiving(b *testing.B) {
	const rounds = 5 // 20,000 records
	fill := func(b *testing.B) Config {
		cfg := benchConfig(b)
		s := newTestSender(b, cfg, "shop.events")
		for round := range rounds {
			for _, rows := range backlog(round, 64) {
				forwardAll(b, s, rows)
			}
		}
		return cfg
	}
	report := func(b *testing.B, to *slow) {
		b.ReportMetric(float64(to.rows.Load())/b.Elapsed().Seconds(), "rows/s")
		b.ReportMetric(float64(to.rows.Load())/float64(to.calls.Load()), "rows/transaction")
	}
	reached := func(to *slow, n int64) func() bool { return func() bool { return to.rows.Load() >= n } }
	b.Run("Subscriber", func(b *testing.B) {
		cfg := fill(b)
		to := &slow{}
		wanted := int64(0)
		for b.Loop() {
			settings, err := cfg.consumer()
			require.NoError(b, err)
			s, err := kafka.NewSubscriber(kafka.SubscriberConfig{
				Brokers: cfg.Brokers, Unmarshaler: ourMarshaler{cfg, topology(b)}, OverwriteSaramaConfig: settings,
				ConsumerGroup: cfg.Prefix + strconv.FormatInt(wanted, 10),
			}, watermill.NopLogger{})
			require.NoError(b, err)
			messages, err := s.Subscribe(context.Background(), cfg.Prefix+"shop.events")
			require.NoError(b, err)
			go func() {
				for first := range messages {
					all := []*message.Message{first}
				gather:
					for len(all) < maxRows {
						select {
						case next := <-messages:
							if next == nil {
								return
							}
							all = append(all, next)
						default:
							break gather
						}
					}
					_ = to.Receive(context.Background(), "store", make([]store.Row, len(all))) // it has no errors
					for _, msg := range all {
						msg.Ack()
					}
				}
			}()
			wanted += rounds * 4000
			eventually(b, "all records", reached(to, wanted))
			b.StopTimer()
			require.NoError(b, s.Close())
			b.StartTimer()
		}
		report(b, to)
	})
	b.Run("Ours", func(b *testing.B) {
		cfg := fill(b)
		a, err := newTopicAdmin(cfg)
		require.NoError(b, err)
		b.Cleanup(a.close)
		to := &slow{}
		wanted := int64(0)
		for b.Loop() {
			c := newConsumer(a, uuid.New(), strconv.FormatInt(wanted, 10), []string{"shop.events"}, topology(b), to, &counters{})
			c.start()
			wanted += rounds * 4000
			eventually(b, "all records", reached(to, wanted))
			b.StopTimer()
			stopConsumer(b, c)
			b.StartTimer()
		}
		report(b, to)
	})
}
