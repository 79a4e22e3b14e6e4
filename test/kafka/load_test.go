//go:build kafka || slow || cloudevents

package kafka

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
	"millrace/platform/bus/kafkabridge"
)

// configFor is the configuration for the brokers at the addresses, real or fake.
func configFor(addresses []string) kafkabridge.Config {
	return kafkabridge.Config{
		Brokers: addresses, Session: 2 * time.Second, Sweep: 500 * time.Millisecond, Stall: 3 * time.Second, SendTimeout: time.Second,
		Logger: slog.New(slog.DiscardHandler),
	}
}

// askBrokers returns clients that ask the brokers directly.
func askBrokers(t *testing.T, addresses []string) (sarama.Client, sarama.ClusterAdmin) {
	t.Helper()
	settings := sarama.NewConfig()
	settings.Version = sarama.V3_6_0_0
	client, err := sarama.NewClient(addresses, settings)
	require.NoError(t, err)
	a, err := sarama.NewClusterAdminFromClient(client)
	require.NoError(t, err)
	t.Cleanup(func() { a.Close() })
	return client, a
}

// load publishes continuously.
type load struct {
	published atomic.Int64 // events, and as many commands
	burst     atomic.Int64 // size of the next transaction; 0: one event and one command
	stop      chan struct{}
	done      chan error
}

// underLoad publishes an event and a command at every tick, with twenty keys in turn, until end.
func underLoad(o *opened, every time.Duration) *load {
	o.t.Helper()
	return underLoadOf(o, 20, every)
}

func underLoadOf(o *opened, keys int, every time.Duration) *load {
	o.t.Helper()
	l := &load{stop: make(chan struct{}), done: make(chan error, 1)}
	go func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for n := 0; ; {
			select {
			case <-l.stop:
				l.done <- nil
				return
			case <-tick.C:
			}
			count := max(1, int(l.burst.Swap(0)))
			err := o.DB("shop").InTx(context.Background(), func(tx *bus.Tx) error {
				for i := n; i < n+count; i++ {
					if err := publishIn(tx, "order-"+string(rune('a'+i%keys)), i); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				l.done <- err
				return
			}
			n += count
			l.published.Add(int64(count))
		}
	}()
	eventually(o.t, "a beginning", func() bool { return l.published.Load() > 50 })
	return l
}

// end stops the load. It checks that no request failed, and that every message had
// one effect, in order.
func (l *load) end(o *opened) {
	o.t.Helper()
	close(l.stop)
	require.NoError(o.t, <-l.done, "a request failed because of Kafka")
	o.effects(int(l.published.Load()))
	eventually(o.t, "flowing", func() bool { return o.Flowing() == nil })
}

// under runs trouble during a load of 200 transactions a second.
func under(o *opened, trouble func()) {
	o.t.Helper()
	l := underLoad(o, 5*time.Millisecond)
	trouble()
	l.end(o)
}

// partitionsAdded adds partitions under load and waits until they are used.
func partitionsAdded(t *testing.T, cfg kafkabridge.Config) {
	t.Helper()
	o := open(t, cfg)
	client, a := askBrokers(t, cfg.Brokers)
	under(o, func() {
		require.NoError(t, a.CreatePartitions("shop.events", 12, nil, false))
		eventually(t, "records in the new ones", func() bool {
			newest, err := client.GetOffset("shop.events", 11, sarama.OffsetNewest)
			return err == nil && newest > 0
		})
	})
}

// storm has other processes join and leave the store's consumer group, one or two
// at a time, under load. Handlers are slow, and one is running whenever a member
// joins or leaves.
func storm(t *testing.T, cfg kafkabridge.Config) {
	t.Helper()
	o := openSlow(t, cfg, 20*time.Millisecond)
	l := underLoad(o, 20*time.Millisecond)
	var before func()
	for round := range 10 {
		before = nextMember(o, before, round%2 == 0)
	}
	o.atWork()
	before()
	l.end(o)
}

// nextMember starts a member, waits until messages are handled, and stops the
// previous member: before the start, or with overlap during the rebalance that the
// start causes.
func nextMember(o *opened, before func(), overlap bool) (stop func()) {
	o.t.Helper()
	o.atWork()
	if before != nil && !overlap {
		before()
		o.atWork()
	}
	transport, stop := o.host([]string{"store"})
	effects := o.text(`SELECT count(*) FROM store.effects`)
	eventually(o.t, "effects in the middle of it", func() bool {
		return transport.Counts().Received > 0 || o.text(`SELECT count(*) FROM store.effects`) != effects
	})
	if before != nil && overlap {
		o.atWork()
		before()
	}
	return stop
}
