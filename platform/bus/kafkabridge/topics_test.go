package kafkabridge

import (
	"bytes"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/platform/errs"
)

func TestTopics_CreatesMissingTopicsOnly(t *testing.T) {
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
	require.NotEqual(t, found["shop.events"].id, found["store.commands"].id)
	require.NoError(t, a.check(names, found))
	again, err := a.create(t.Context(), names)
	require.NoError(t, err)
	require.Equal(t, found, again)
	require.Equal(t, "-1", *b.TopicInfo("p.store.commands").Configs["retention.ms"])
	require.Equal(t, "delete", *b.TopicInfo("p.store.commands").Configs["cleanup.policy"])
}

func TestTopics_RefusesSettingsThatLoseMessages(t *testing.T) {
	t.Parallel()
	for setting, c := range map[string]struct{ value, message string }{
		"retention.ms":        {"604800000", "retention.ms is 604800000, which deletes messages that may not have been received: set it to -1"},
		"retention.bytes":     {"1000000", "retention.bytes is 1000000"},
		"cleanup.policy":      {"compact", "cleanup.policy is compact, which deletes messages of a key: set it to delete"},
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
			require.ErrorContains(t, err, "topic shop.events: "+c.message)
		})
	}
}

func TestTopics_WarnsOfUnusualSettings(t *testing.T) {
	t.Parallel()
	a := &topicAdmin{cfg: Config{Partitions: 8, Replication: 3}}
	refusals, warnings := a.cfg.compareSettings(topic{partitions: 12, replicas: 2}, map[string]string{
		"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1", "max.message.bytes": "1048588", "min.insync.replicas": "1",
		"unclean.leader.election.enable": "true",
	})
	require.Empty(t, refusals)
	require.Len(t, warnings, 5)
	refusals, warnings = a.cfg.compareSettings(topic{partitions: 8, replicas: 3}, map[string]string{"min.insync.replicas": "2"})
	require.Empty(t, append(refusals, warnings...))
}

func TestTopics_LogsWarnings(t *testing.T) {
	t.Parallel()
	b := fake(t)
	cfg := configFor(b)
	var log bytes.Buffer
	cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	require.NoError(t, b.CreateTopic("shop.events", 12, map[string]string{"retention.ms": "-1"}))
	a, err := newTopicAdmin(cfg)
	require.NoError(t, err)
	t.Cleanup(a.close)
	found, err := a.create(t.Context(), []string{"shop.events"})
	require.NoError(t, err)
	require.NoError(t, a.check([]string{"shop.events"}, found))
	require.Contains(t, log.String(), "topic=shop.events")
	require.Contains(t, log.String(), "12 partitions, no power of two")
}
