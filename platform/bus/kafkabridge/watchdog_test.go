//go:build slow

package kafkabridge

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestWatchdog_RecreatesDeletedTopicWithItsMessages(t *testing.T) {
	t.Parallel()
	b := fake(t)
	o := open(t, configFor(b))
	o.publish(0, 50)
	o.effects(50)
	published := 50
	for _, topic := range []string{"shop.events", "store.commands"} {
		before := b.TopicInfo(topic).TopicID
		require.NoError(t, b.DeleteTopic(topic))
		o.publish(published, 5)
		eventually(t, "another topic", func() bool { info := b.TopicInfo(topic); return info != nil && info.TopicID != before })
		o.publish(published+5, 5)
		published += 10
		o.effects(published)
	}
	require.GreaterOrEqual(t, len(readTopic(t, o.cfg, "shop.events", published)), published)
}

func TestWatchdog_DeletesReceivedCommands(t *testing.T) {
	t.Parallel()
	b := fake(t)
	o := open(t, configFor(b))
	o.publish(0, 30)
	o.effects(30)
	emptied(t, b)
	require.Len(t, readTopic(t, o.cfg, "shop.events", 30), 30)
	o.publish(30, 5)
	o.effects(35)
}

// A partition receives nothing although its member is healthy. Faults of client libraries have
// caused that.
func TestWatchdog_ReadsStalledPartitionAndRestartsConsumer(t *testing.T) {
	t.Parallel()
	b := fake(t)
	cfg := configFor(b)
	cfg.Stall = 2 * time.Second
	o := open(t, cfg)
	o.publish(0, 20)
	o.effects(20)
	h := b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: "shop.events", Err: kerr.NotLeaderForPartition, Count: -1, When: func(r kmsg.Request) bool {
		fetch, ok := r.(*kmsg.FetchRequest)
		return ok && fetch.MaxWaitMillis == int32(groupWait.Milliseconds())
	}})
	eventually(t, "the end of the fetch that waits", func() bool { return h.Hits() > 0 })
	o.publish(20, 10)
	o.effects(30)
	require.Positive(t, o.Counts().Reread)
	eventually(t, "a restart", func() bool { return o.Counts().Restarts > 0 })
	require.ErrorContains(t, o.Flowing(), "were unread for 2s")
	h.Remove()
	o.publish(30, 10)
	o.effects(40)
	eventually(t, "flowing", func() bool { return o.Flowing() == nil })
}

// A crash of the server may lose what was received last, and no next record shows it.
func TestWatchdog_RereadsRecordsThatDatabaseLost(t *testing.T) {
	t.Parallel()
	o := open(t, configFor(fake(t)))
	o.publish(0, 20)
	o.effects(20)
	checkpoints := `SELECT string_agg(topic || partition || ' ' || "offset", ',' ORDER BY topic, partition) FROM store.checkpoints`
	before := o.text(checkpoints)
	o.text(`WITH lost AS (UPDATE store.checkpoints SET "offset" = "offset" - 1 WHERE "offset" > 0 AND topic = 'shop.events' RETURNING 1) SELECT count(*) FROM lost`)
	require.NotEqual(t, before, o.text(checkpoints))
	eventually(t, "the lost records", func() bool { return o.text(checkpoints) == before })
	o.effects(20)
}

// A standby that replaces a server may have less of everything, while the process runs on.
func TestWatchdog_HasMessagesHandledAgainThatDatabaseLost(t *testing.T) {
	t.Parallel()
	o := open(t, configFor(fake(t)))
	o.publish(0, 20)
	o.effects(20)
	o.text(`WITH a AS (DELETE FROM store.effects WHERE n >= 0), b AS (DELETE FROM store.inbox WHERE topic = 'shop.events'),
		c AS (DELETE FROM store.inbound WHERE topic = 'shop.events'), d AS (UPDATE store.offsets SET committed_offset = 0 WHERE subscriber = 'store' AND topic = 'shop.events'),
		e AS (UPDATE store.checkpoints SET "offset" = 0 WHERE topic = 'shop.events') SELECT ''`)
	o.effects(20)
}
