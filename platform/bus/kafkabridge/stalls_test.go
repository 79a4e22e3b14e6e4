package kafkabridge

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"millrace/platform/bus/store"
)

// A record that comes after a long silence has not been unread since the silence began.
func TestStallDetector_SilenceIsNoStall(t *testing.T) {
	t.Parallel()
	cfg := configFor(fake(t))
	cfg.Stall = time.Hour
	s := newTestSender(t, cfg, "shop.events")
	a, err := newTopicAdmin(cfg)
	require.NoError(t, err)
	t.Cleanup(a.close)
	c := newConsumer(a, uuid.New(), "store", []string{"shop.events"}, topology(t), newFakeInbound(), &counters{})
	p := topicPartition{"shop.events", int32(store.PartitionOf("order-1") % 4)}
	key, long := consumed{c.module, p}, time.Now().Add(-2*cfg.Stall)
	d := newStallDetector(a)
	d.progress[key] = progress{committed: 0, since: long}
	stalled := func() bool {
		stalled, err := d.check(c, p, 0)
		require.NoError(t, err)
		return stalled
	}
	require.False(t, stalled(), "there is nothing to read")
	forwardAll(t, s, rowsOf("order-1", 1, 3))
	require.False(t, stalled(), "the records have just come")
	require.Zero(t, c.counters.reread.Load())

	d.progress[key] = progress{committed: 0, since: long}
	require.True(t, stalled(), "they have been unread for long")
	require.EqualValues(t, 3, c.counters.reread.Load())
	require.Len(t, c.health.failures("store", 0), 1)
}
