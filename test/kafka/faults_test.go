//go:build kafka

package kafka

import (
	"os"
	"testing"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
	"millrace/platform/bus/kafkatransport"
	"millrace/platform/bus/sqltransport"
	"millrace/test/broker"
)

func TestABrokerKilledTwiceLosesAndDoublesNothing(t *testing.T) {
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
	cluster := broker.Start(t, broker.Options{Properties: shortSessions()})
	o := open(t, onReal(cluster.Brokers()))
	under(o, func() {
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
	under(o, func() {
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
	under(o, func() {
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
	cluster := broker.Start(t, broker.Options{Properties: shortSessions()})
	partitionsAdded(t, onReal(cluster.Brokers()))
}

func TestAStormOfRebalancesUnderLoadLosesAndDoublesNothing(t *testing.T) {
	cluster := broker.Start(t, broker.Options{Properties: shortSessions()})
	storm(t, onReal(cluster.Brokers()))
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
