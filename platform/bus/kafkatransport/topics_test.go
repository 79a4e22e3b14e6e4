package kafkatransport

import (
	"bytes"
	"context"
	"log/slog"
	"testing"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"

	"millrace/platform/bus/store"
	"millrace/platform/errs"
)

func TestMissingTopicsAreCreatedAsConfiguredAndOnlyThose(t *testing.T) {
	t.Parallel()
	b := fake(t)
	cfg := configFor(b)
	cfg.Prefix = "p."
	require.NoError(t, b.CreateTopic("p.shop.events", 16, map[string]string{"retention.ms": "-1"}))
	a, err := newTopicAdmin(cfg)
	require.NoError(t, err)
	t.Cleanup(a.close)
	names := []string{"shop.events", "store.commands"}
	found, err := a.create(t.Context(), names)
	require.NoError(t, err)
	require.Equal(t, 16, found["shop.events"].partitions)
	require.Equal(t, 4, found["store.commands"].partitions)
	require.NotEqual(t, found["shop.events"].incarnation, found["store.commands"].incarnation)
	require.NoError(t, a.check(names, found))
	again, err := a.create(t.Context(), names)
	require.NoError(t, err)
	require.Equal(t, found, again)
	require.Equal(t, "-1", *b.TopicInfo("p.store.commands").Configs["retention.ms"])
	require.Equal(t, "delete", *b.TopicInfo("p.store.commands").Configs["cleanup.policy"])
}

func TestATopicThatWouldLoseMessagesIsRefusedByName(t *testing.T) {
	t.Parallel()
	for setting, c := range map[string]struct{ value, says string }{
		"retention.ms":        {"604800000", "retention.ms is 604800000, which drops messages that somebody may not have received: set it to -1"},
		"retention.bytes":     {"1000000", "retention.bytes is 1000000"},
		"cleanup.policy":      {"compact", "cleanup.policy is compact, which drops messages of a key: set it to delete"},
		"max.message.bytes":   {"100000", "max.message.bytes is 100000, and a message may have 278528"},
		"min.insync.replicas": {"2", "min.insync.replicas is 2 with 1 replicas, so nothing can be written: set it to 1"},
	} {
		t.Run(setting, func(t *testing.T) {
			t.Parallel()
			b := fake(t)
			configs := map[string]string{"retention.ms": "-1"}
			configs[setting] = c.value
			require.NoError(t, b.CreateTopic("shop.events", 4, configs))
			a, err := newTopicAdmin(configFor(b))
			require.NoError(t, err)
			t.Cleanup(a.close)
			found, err := a.create(t.Context(), []string{"shop.events"})
			require.NoError(t, err)
			err = a.check([]string{"shop.events"}, found)
			require.Equal(t, errs.Invalid, errs.KindOf(err))
			require.ErrorContains(t, err, "topic shop.events: "+c.says)
		})
	}
}

func TestATopicThatOnlyDiffersIsWarnedOf(t *testing.T) {
	t.Parallel()
	a := &topicAdmin{cfg: Config{Partitions: 8, Replication: 3}}
	refusals, warnings := a.judge(topic{partitions: 12, replicas: 2}, map[string]string{
		"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1", "max.message.bytes": "1048588", "min.insync.replicas": "1",
		"unclean.leader.election.enable": "true",
	})
	require.Empty(t, refusals)
	require.Len(t, warnings, 5)
	refusals, warnings = a.judge(topic{partitions: 8, replicas: 3}, map[string]string{"min.insync.replicas": "2"})
	require.Empty(t, append(refusals, warnings...))
}

func TestAWarningReachesTheLog(t *testing.T) {
	t.Parallel()
	b := fake(t)
	cfg := configFor(b)
	var said bytes.Buffer
	cfg.Logger = slog.New(slog.NewTextHandler(&said, nil))
	require.NoError(t, b.CreateTopic("shop.events", 12, map[string]string{"retention.ms": "-1"}))
	a, err := newTopicAdmin(cfg)
	require.NoError(t, err)
	t.Cleanup(a.close)
	found, err := a.create(t.Context(), []string{"shop.events"})
	require.NoError(t, err)
	require.NoError(t, a.check([]string{"shop.events"}, found))
	require.Contains(t, said.String(), "topic=shop.events")
	require.Contains(t, said.String(), "12 partitions, no power of two")
}

// session is one in which partitions were assigned.
type session struct {
	sarama.ConsumerGroupSession
	claims map[string][]int32
}

func (s session) Context() context.Context   { return context.Background() }
func (s session) Claims() map[string][]int32 { return s.claims }

// A broker that has just started says that it does not know a topic: it would be
// read from its start, and the database would note that it did so in no topic.
func TestATopicThatABrokerDoesNotKnowAtTheMomentIsNoOtherTopic(t *testing.T) {
	t.Parallel()
	cfg := configFor(fake(t))
	a, err := newTopicAdmin(cfg)
	require.NoError(t, err)
	t.Cleanup(a.close)
	to := newStore()
	known := store.Checkpoint{Topic: "shop.events", Partition: 1, TopicID: "theirs", To: 17}
	require.NoError(t, to.BeginAt(t.Context(), "store", []store.Checkpoint{known}))
	in := newIntake(cfg, "store", []string{"shop.events"}, topology(t), to, a, &counters{})
	err = (&claims{in: in}).Setup(session{claims: map[string][]int32{cfg.Prefix + "shop.events": {1}}})
	require.ErrorContains(t, err, "shop.events is not there at the moment")
	marks, err := to.Checkpoints(t.Context(), "store")
	require.NoError(t, err)
	require.Equal(t, []store.Checkpoint{known}, marks)
}
