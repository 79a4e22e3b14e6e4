//go:build kafka

package kafkatransport

import (
	"context"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
	"millrace/test/broker"
)

// onReal is the configuration for real brokers.
func onReal(addresses []string) Config {
	cfg := Config{Brokers: addresses, Session: 2 * time.Second, Sweep: 500 * time.Millisecond, Stall: 3 * time.Second, SendTimeout: time.Second, Logger: logger()}
	return cfg.withDefaults()
}

func shortSessions() map[string]string {
	return map[string]string{"group.min.session.timeout.ms": "1000"}
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
				if err := tx.Publish(paid{key, n}); err != nil {
					return err
				}
				return tx.Send(pack{key})
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

func TestABrokerKilledTwiceLosesAndDoublesNothing(t *testing.T) {
	cluster := broker.Start(t, broker.Options{Properties: shortSessions()})
	o := open(t, onReal(cluster.Brokers()))
	under(t, o, func() {
		for range 2 {
			require.NoError(t, cluster.Kill(0))
			require.NoError(t, cluster.Restart(0))
		}
	})
}

func TestABrokerThatHangsIsSeenAndWhatWaitedIsSent(t *testing.T) {
	cluster := broker.Start(t, broker.Options{Properties: shortSessions()})
	o := open(t, onReal(cluster.Brokers()))
	under(t, o, func() {
		require.NoError(t, cluster.Freeze(0))
		eventually(t, "blocked", func() bool { return o.Flowing() != nil })
		require.NoError(t, o.Healthy())
		require.NoError(t, cluster.Thaw(0))
	})
}

func TestLostAnswersDoubleNothing(t *testing.T) {
	cluster := broker.Start(t, broker.Options{Proxy: true, Properties: shortSessions()})
	o := open(t, onReal(cluster.Proxied()))
	proxy := cluster.Proxy(0)
	under(t, o, func() {
		for _, api := range []broker.API{broker.Produce, broker.Fetch, broker.OffsetCommit, broker.Heartbeat} {
			proxy.Lose(api, 3)
			eventually(t, "lost answers", func() bool { return proxy.Lost(api) >= 3 })
			proxy.Lose(api, 0)
		}
	})
}

func TestAChangeOfLeadersLosesAndDoublesNothing(t *testing.T) {
	cluster := broker.Start(t, broker.Options{Nodes: 3, Properties: shortSessions()})
	cfg := onReal(cluster.Brokers())
	cfg.Replication = 3
	o := open(t, cfg)
	under(t, o, func() {
		leader, err := cluster.Leader("shop.events", 0)
		require.NoError(t, err)
		require.NoError(t, cluster.Kill(leader))
		before := o.Counts().Received
		eventually(t, "others go on", func() bool { return o.Counts().Received > before+200 })
		require.NoError(t, cluster.Restart(leader))
	})
}

func TestARealTopicThatIsDeletedUnderLoadComesBackWithEverything(t *testing.T) {
	cluster := broker.Start(t, broker.Options{Properties: shortSessions()})
	o := open(t, onReal(cluster.Brokers()))
	under(t, o, func() {
		for _, name := range []string{"shop.events", "store.commands"} {
			found, err := o.admin.describe([]string{name})
			require.NoError(t, err)
			require.NoError(t, o.admin.DeleteTopic(name))
			eventually(t, "another topic", func() bool {
				now, err := o.admin.describe([]string{name})
				return err == nil && now[name].incarnation != "" && now[name].incarnation != found[name].incarnation
			})
		}
	})
}

func TestPartitionsThatSomebodyAddedAreUsed(t *testing.T) {
	cluster := broker.Start(t, broker.Options{Properties: shortSessions()})
	o := open(t, onReal(cluster.Brokers()))
	under(t, o, func() {
		require.NoError(t, o.admin.CreatePartitions("shop.events", 12, nil, false))
		eventually(t, "records in the new ones", func() bool {
			newest, err := o.admin.client.GetOffset("shop.events", 11, sarama.OffsetNewest)
			return err == nil && newest > 0 || o.admin.client.RefreshMetadata("shop.events") != nil
		})
	})
}

func TestARealBrokerIsReachedThroughTLSAndSASL(t *testing.T) {
	cluster := broker.Start(t, broker.Options{Secure: true, Properties: shortSessions()})
	ca, err := os.ReadFile(cluster.CA())
	require.NoError(t, err)
	for _, mechanism := range []string{Plain, ScramSHA256, ScramSHA512} {
		cfg := onReal(cluster.SASLTLS())
		cfg.Prefix = mechanism + "."
		cfg.TLS, cfg.SASL = &TLS{CA: ca}, &SASL{mechanism, broker.User, broker.Password}
		o := open(t, cfg)
		o.say(0, 10)
		o.effects(10)
		o.stop()
		cfg.SASL = &SASL{mechanism, broker.User, "wrong"}
		_, err = newAdmin(cfg)
		require.ErrorContains(t, err, "do not answer with TLS")
	}
	_, err = newAdmin(onReal(cluster.TLS()))
	require.ErrorContains(t, err, "do not answer in plaintext")
}
