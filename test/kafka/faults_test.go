//go:build kafka

package kafka

import (
	"os"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
	"millrace/platform/bus/kafkatransport"
	"millrace/platform/bus/sqltransport"
	"millrace/test/broker"
)

func TestABrokerKilledTwiceLosesAndDoublesNothing(t *testing.T) {
	t.Parallel()
	cluster := broker.Start(t, broker.Options{Properties: shortSessions()})
	o := open(t, onReal(cluster.Brokers()))
	under(o, func() {
		for range 2 {
			require.NoError(t, cluster.Kill(0))
			require.NoError(t, cluster.Restart(0))
		}
	})
}

func TestABrokerThatHangsIsSeenAndWhatWaitedIsSent(t *testing.T) {
	t.Parallel()
	cluster := broker.Start(t, broker.Options{Properties: shortSessions()})
	o := open(t, onReal(cluster.Brokers()))
	under(o, func() {
		require.NoError(t, cluster.Freeze(0))
		eventually(t, "blocked", func() bool { return o.Flowing() != nil })
		eventually(t, "healthy all the same", func() bool { return o.Healthy() == nil }) // a machine that stood still has to renew its lease first
		require.NoError(t, cluster.Thaw(0))
	})
}

func TestLostAnswersDoubleNothing(t *testing.T) {
	t.Parallel()
	cluster := broker.Start(t, broker.Options{Proxy: true, Properties: shortSessions()})
	o := open(t, onReal(cluster.Proxied()))
	proxy := cluster.Proxy(0)
	under(o, func() {
		for _, api := range []broker.API{broker.Produce, broker.Fetch, broker.OffsetCommit, broker.Heartbeat} {
			proxy.Lose(api, 3)
			eventually(t, "lost answers", func() bool { return proxy.Lost(api) >= 3 })
			proxy.Lose(api, 0)
		}
	})
}

// TestAChangeOfLeadersLosesAndDoublesNothing: the leader of a partition is
// killed, and then the broker that coordinates the group.
func TestAChangeOfLeadersLosesAndDoublesNothing(t *testing.T) {
	cluster := broker.Start(t, broker.Options{Nodes: 3, Properties: shortSessions()})
	cfg := onReal(cluster.Brokers())
	cfg.Replication = 3
	o := open(t, cfg)
	under(o, func() {
		for _, whose := range []func() (int, error){
			func() (int, error) { return cluster.Leader("shop.events", 0) },
			func() (int, error) { return cluster.Coordinator("store") },
		} {
			leader, err := whose()
			require.NoError(t, err)
			require.NoError(t, cluster.Kill(leader))
			before := o.Counts().Received
			eventually(t, "others go on", func() bool { return o.Counts().Received > before+200 })
			require.NoError(t, cluster.Restart(leader))
		}
	})
}

func TestARealTopicThatIsDeletedUnderLoadComesBackWithEverything(t *testing.T) {
	t.Parallel()
	cluster := broker.Start(t, broker.Options{Properties: shortSessions()})
	o := open(t, onReal(cluster.Brokers()))
	_, a := admin(t, cluster.Brokers())
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

func TestPartitionsThatSomebodyAddedAreUsed(t *testing.T) {
	t.Parallel()
	cluster := broker.Start(t, broker.Options{Properties: shortSessions()})
	partitionsAdded(t, onReal(cluster.Brokers()))
}

func TestAStormOfRebalancesUnderLoadLosesAndDoublesNothing(t *testing.T) {
	t.Parallel()
	cluster := broker.Start(t, broker.Options{Properties: shortSessions()})
	storm(t, onReal(cluster.Brokers()))
}

func TestARealBrokerIsReachedThroughTLSAndSASL(t *testing.T) {
	t.Parallel()
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

func TestNothingReachesABrokerWhoseTransactionDidNotCommit(t *testing.T) {
	t.Parallel()
	cluster := broker.Start(t, broker.Options{Properties: shortSessions()})
	onlyCommitted(t, onReal(cluster.Brokers()), func() {
		require.NoError(t, cluster.Kill(0))
		require.NoError(t, cluster.Restart(0))
	})
}

func TestAPoisonedTopicHoldsUpNobody(t *testing.T) {
	t.Parallel()
	cluster := broker.Start(t, broker.Options{Properties: shortSessions()})
	poisoned(t, onReal(cluster.Brokers()), sarama.CompressionNone, sarama.CompressionGZIP, sarama.CompressionSnappy, sarama.CompressionLZ4)
}

// TestWhatOneBrokerOfThreeHadAloneIsNotConfirmed: the other two hang while more
// is said, and when they go on the one that had it is gone. Who trusts the
// leader's word alone has lost it then.
func TestWhatOneBrokerOfThreeHadAloneIsNotConfirmed(t *testing.T) {
	cluster := broker.Start(t, broker.Options{Nodes: 3, Properties: shortSessions()})
	cfg := onReal(cluster.Brokers())
	cfg.Replication = 3
	o := open(t, cfg)
	l := underLoad(o, 5*time.Millisecond)
	leader, err := cluster.Leader("shop.events", 0)
	require.NoError(t, err)
	others := []int{(leader + 1) % 3, (leader + 2) % 3}
	for _, i := range others {
		require.NoError(t, cluster.Freeze(i))
	}
	before := l.said.Load()
	eventually(t, "more", func() bool { return l.said.Load() > before+200 })
	require.NoError(t, cluster.Kill(leader))
	for _, i := range others {
		require.NoError(t, cluster.Thaw(i))
	}
	received := o.Counts().Received
	eventually(t, "the two go on", func() bool { return o.Counts().Received > received+200 })
	require.NoError(t, cluster.Restart(leader))
	l.end(o)
}
