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
	"millrace/platform/bus/kafkatransport"
)

// onReal is the configuration for real brokers, and for who stands in for them.
func onReal(addresses []string) kafkatransport.Config {
	return kafkatransport.Config{
		Brokers: addresses, Session: 2 * time.Second, Sweep: 500 * time.Millisecond, Stall: 3 * time.Second, SendTimeout: time.Second,
		Logger: slog.New(slog.DiscardHandler),
	}
}

// admin asks the brokers directly.
func admin(t *testing.T, addresses []string) (sarama.Client, sarama.ClusterAdmin) {
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

// under says something all the time while trouble happens, and then checks that
// everything had its effect once, in order.
func under(t *testing.T, o *opened, trouble func()) {
	t.Helper()
	said, stop, done := atomic.Int64{}, make(chan struct{}), make(chan error, 1)
	go func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-stop:
				done <- nil
				return
			case <-tick.C:
			}
			key := "order-" + string(rune('a'+n%20))
			err := o.DB("shop").InTx(context.Background(), func(tx *bus.Tx) error {
				if err := tx.Publish(paid{Order: key, N: n}); err != nil {
					return err
				}
				return tx.Send(pack{Order: key})
			})
			if err != nil {
				done <- err
				return
			}
			said.Add(1)
		}
	}()
	eventually(t, "a beginning", func() bool { return said.Load() > 50 })
	trouble()
	close(stop)
	require.NoError(t, <-done, "a request failed because of Kafka")
	o.effects(int(said.Load()))
	eventually(t, "flowing", func() bool { return o.Flowing() == nil })
}

// partitionsAdded adds partitions under load.
func partitionsAdded(t *testing.T, cfg kafkatransport.Config) {
	t.Helper()
	o := open(t, cfg)
	client, a := admin(t, cfg.Brokers)
	under(t, o, func() {
		require.NoError(t, a.CreatePartitions("shop.events", 12, nil, false))
		eventually(t, "records in the new ones", func() bool {
			newest, err := client.GetOffset("shop.events", 11, sarama.OffsetNewest)
			return err == nil && newest > 0
		})
	})
}

// storm has other processes join and leave the store's group, one or two at a
// time, each as soon as the one before has received something or was in vain.
func storm(t *testing.T, cfg kafkatransport.Config) {
	t.Helper()
	o := open(t, cfg)
	under(t, o, func() {
		var before func()
		for round := range 10 {
			before = nextMember(o, before, round%2 == 0)
		}
		before()
	})
}

// nextMember starts a member, waits until the load has gone on, and stops the
// one before it: then, or at the same moment as another rebalance begins.
func nextMember(o *opened, before func(), overlap bool) (stop func()) {
	o.t.Helper()
	if before != nil && !overlap {
		before()
	}
	transport, stop := o.host([]string{"store"})
	effects := o.text(`SELECT count(*) FROM store.effects`)
	eventually(o.t, "effects in the middle of it", func() bool {
		return transport.Counts().Received > 0 || o.text(`SELECT count(*) FROM store.effects`) != effects
	})
	if before != nil && overlap {
		before()
	}
	return stop
}
