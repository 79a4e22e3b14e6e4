//go:build kafka

package kafka

import (
	"context"
	"log/slog"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
	"millrace/platform/bus/kafkatransport"
	"millrace/platform/bus/sqltransport"
	"millrace/test/broker"
)

// onReal is the configuration for real brokers.
func onReal(addresses []string) kafkatransport.Config {
	return kafkatransport.Config{
		Brokers: addresses, Session: 2 * time.Second, Sweep: 500 * time.Millisecond, Stall: 3 * time.Second, SendTimeout: time.Second,
		Logger: slog.New(slog.DiscardHandler),
	}
}

// admin asks the brokers directly.
func admin(t *testing.T, cluster *broker.Cluster) (sarama.Client, sarama.ClusterAdmin) {
	t.Helper()
	settings := broker.Config()
	settings.Version = sarama.V3_6_0_0
	client, err := sarama.NewClient(cluster.Brokers(), settings)
	require.NoError(t, err)
	a, err := sarama.NewClusterAdminFromClient(client)
	require.NoError(t, err)
	t.Cleanup(func() { a.Close() })
	return client, a
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
	_, a := admin(t, cluster)
	under(t, o, func() {
		for _, name := range []string{"shop.events", "store.commands"} {
			found, err := a.DescribeTopics([]string{name})
			require.NoError(t, err)
			require.NoError(t, a.DeleteTopic(name))
			eventually(t, "another topic", func() bool {
				now, err := a.DescribeTopics([]string{name})
				return err == nil && now[0].Err == sarama.ErrNoError && now[0].Uuid != found[0].Uuid
			})
		}
	})
}

func TestPartitionsThatSomebodyAddedAreUsed(t *testing.T) {
	cluster := broker.Start(t, broker.Options{Properties: shortSessions()})
	o := open(t, onReal(cluster.Brokers()))
	client, a := admin(t, cluster)
	under(t, o, func() {
		require.NoError(t, a.CreatePartitions("shop.events", 12, nil, false))
		eventually(t, "records in the new ones", func() bool {
			newest, err := client.GetOffset("shop.events", 11, sarama.OffsetNewest)
			return err == nil && newest > 0
		})
	})
}

func TestARealBrokerIsReachedThroughTLSAndSASL(t *testing.T) {
	cluster := broker.Start(t, broker.Options{Secure: true, Properties: shortSessions()})
	ca, err := os.ReadFile(cluster.CA())
	require.NoError(t, err)
	for _, mechanism := range []string{kafkatransport.Plain, kafkatransport.ScramSHA256, kafkatransport.ScramSHA512} {
		cfg := onReal(cluster.SASLTLS())
		cfg.Prefix = mechanism + "."
		cfg.TLS, cfg.SASL = &kafkatransport.TLS{CA: ca}, &kafkatransport.SASL{Mechanism: mechanism, User: broker.User, Password: broker.Password}
		o := open(t, cfg)
		o.say(0, 10)
		o.effects(10)
		o.stop()
		cfg.SASL.Password = "wrong"
		refused(t, cfg, "do not answer with TLS")
	}
	refused(t, onReal(cluster.TLS()), "do not answer in plaintext")
}

// refused checks that Open says why it cannot reach the brokers.
func refused(t *testing.T, cfg kafkatransport.Config, why string) {
	t.Helper()
	topo, err := bus.NewTopology(unit{name: "shop", says: []bus.Event{paid{}}})
	require.NoError(t, err)
	_, err = kafkatransport.Open(t.Context(), cfg, sqltransport.Config{}, topo, topo.Modules())
	require.ErrorContains(t, err, why)
}
