//go:build kafka

package kafka

import (
	"os"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
	"millrace/platform/bus/kafkabridge"
	"millrace/platform/bus/sqltransport"
	"millrace/test/broker"
)

func TestBroker_KilledTwiceLosesAndDuplicatesNothing(t *testing.T) {
	t.Parallel()
	cluster := broker.Start(t, broker.Options{Properties: shortSessions()})
	o := open(t, configFor(cluster.Brokers()))
	under(o, func() {
		for range 2 {
			require.NoError(t, cluster.Kill(0))
			require.NoError(t, cluster.Restart(0))
		}
	})
}

func TestRelay_DetectsAHangingBrokerAndSendsTheOutboxLater(t *testing.T) {
	t.Parallel()
	cluster := broker.Start(t, broker.Options{Properties: shortSessions()})
	o := open(t, configFor(cluster.Brokers()))
	under(o, func() {
		require.NoError(t, cluster.Freeze(0))
		eventually(t, "blocked", func() bool { return o.Flowing() != nil })
		eventually(t, "healthy all the same", func() bool { return o.Healthy() == nil }) // after a stall of the machine the lease must be renewed first
		require.NoError(t, cluster.Thaw(0))
	})
}

func TestBroker_LostRepliesDuplicateNothing(t *testing.T) {
	t.Parallel()
	cluster := broker.Start(t, broker.Options{Proxy: true, Properties: shortSessions()})
	o := open(t, configFor(cluster.Proxied()))
	proxy := cluster.Proxy(0)
	under(o, func() {
		for _, api := range []broker.API{broker.Produce, broker.Fetch, broker.OffsetCommit, broker.Heartbeat} {
			proxy.Lose(api, 3)
			eventually(t, "lost answers", func() bool { return proxy.Lost(api) >= 3 })
			proxy.Lose(api, 0)
		}
	})
}

// The leader of a partition is killed, and then the coordinator of the consumer group.
func TestBroker_LeaderChangeLosesAndDuplicatesNothing(t *testing.T) {
	cluster := broker.Start(t, broker.Options{Nodes: 3, Properties: shortSessions()})
	cfg := configFor(cluster.Brokers())
	cfg.Replication = 3
	o := open(t, cfg)
	under(o, func() {
		for _, find := range []func() (int, error){
			func() (int, error) { return cluster.Leader("shop.events", 0) },
			func() (int, error) { return cluster.Coordinator("store") },
		} {
			broker, err := find()
			require.NoError(t, err)
			require.NoError(t, cluster.Kill(broker))
			before := o.Counts().Received
			eventually(t, "others go on", func() bool { return o.Counts().Received > before+200 })
			require.NoError(t, cluster.Restart(broker))
		}
	})
}

func TestBroker_TopicDeletedUnderLoadIsRecreatedWithItsMessages(t *testing.T) {
	t.Parallel()
	cluster := broker.Start(t, broker.Options{Properties: shortSessions()})
	o := open(t, configFor(cluster.Brokers()))
	_, a := askBrokers(t, cluster.Brokers())
	under(o, func() {
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

func TestProducer_UsesPartitionsAddedToARealBroker(t *testing.T) {
	t.Parallel()
	cluster := broker.Start(t, broker.Options{Properties: shortSessions()})
	partitionsAdded(t, configFor(cluster.Brokers()))
}

func TestConsumer_RebalancesOfARealBrokerLoseAndDuplicateNothing(t *testing.T) {
	t.Parallel()
	cluster := broker.Start(t, broker.Options{Properties: shortSessions()})
	storm(t, configFor(cluster.Brokers()))
}

func TestBroker_IsReachedThroughTLSAndSASL(t *testing.T) {
	t.Parallel()
	cluster := broker.Start(t, broker.Options{Secure: true, Properties: shortSessions()})
	ca, err := os.ReadFile(cluster.CA())
	require.NoError(t, err)
	for _, mechanism := range []string{kafkabridge.Plain, kafkabridge.ScramSHA256, kafkabridge.ScramSHA512} {
		cfg := configFor(cluster.SASLTLS())
		cfg.Prefix = mechanism + "."
		cfg.TLS, cfg.SASL = &kafkabridge.TLS{CA: ca}, &kafkabridge.SASL{Mechanism: mechanism, User: broker.User, Password: broker.Password}
		o := open(t, cfg)
		o.publish(0, 10)
		o.effects(10)
		o.stop()
		cfg.SASL.Password = "wrong"
		refused(t, cfg, "do not answer with TLS")
	}
	refused(t, configFor(cluster.TLS()), "do not answer in plaintext")
}

// refused checks that Open fails with an error that contains why.
func refused(t *testing.T, cfg kafkabridge.Config, why string) {
	t.Helper()
	topo, err := bus.NewTopology(module{name: "shop", publishes: []bus.Event{paid{}}})
	require.NoError(t, err)
	_, err = kafkabridge.Open(t.Context(), cfg, sqltransport.Config{}, topo, topo.Modules())
	require.ErrorContains(t, err, why)
}

func TestRelay_SendsOnlyCommittedMessagesToARealBroker(t *testing.T) {
	t.Parallel()
	cluster := broker.Start(t, broker.Options{Properties: shortSessions()})
	onlyCommitted(t, configFor(cluster.Brokers()), func() {
		require.NoError(t, cluster.Kill(0))
		require.NoError(t, cluster.Restart(0))
	})
}

func TestConsumer_PoisonRecordsOfARealBrokerBlockNoOthers(t *testing.T) {
	t.Parallel()
	cluster := broker.Start(t, broker.Options{Properties: shortSessions()})
	poisoned(t, configFor(cluster.Brokers()), sarama.CompressionNone, sarama.CompressionGZIP, sarama.CompressionSnappy, sarama.CompressionLZ4)
}

// Two of three brokers hang while messages are published, so only the leader has the
// newest records. Then the leader is killed and the two resume. A producer that
// accepted the leader's confirmation alone would have lost these records.
func TestProducer_RecordOnOneOfThreeBrokersIsNotConfirmed(t *testing.T) {
	cluster := broker.Start(t, broker.Options{Nodes: 3, Properties: shortSessions()})
	cfg := configFor(cluster.Brokers())
	cfg.Replication = 3
	o := open(t, cfg)
	l := underLoad(o, 5*time.Millisecond)
	leader, err := cluster.Leader("shop.events", 0)
	require.NoError(t, err)
	others := []int{(leader + 1) % 3, (leader + 2) % 3}
	for _, i := range others {
		require.NoError(t, cluster.Freeze(i))
	}
	before := l.published.Load()
	eventually(t, "more", func() bool { return l.published.Load() > before+200 })
	require.NoError(t, cluster.Kill(leader))
	for _, i := range others {
		require.NoError(t, cluster.Thaw(i))
	}
	received := o.Counts().Received
	eventually(t, "the two go on", func() bool { return o.Counts().Received > received+200 })
	require.NoError(t, cluster.Restart(leader))
	l.end(o)
}
