package kafkabridge

import (
	"context"
	"maps"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/platform/bus/store"
)

func TestConsumer_NewGroupReadsFromOldestRecord(t *testing.T) {
	t.Parallel()
	cfg := configFor(fake(t))
	s := newTestSender(t, cfg, "shop.events")
	forwardAll(t, s, rowsOf("order-1", 1, 700))
	to := newFakeInbound()
	startConsumer(t, cfg, to)
	for i, row := range to.has(t, 700) {
		require.EqualValues(t, i+1, row.Sequence)
	}
	to.mu.Lock()
	defer to.mu.Unlock()
	require.Less(t, to.calls, 100, "records are gathered")
}

// committed is the sum of the group's committed offsets.
func committed(b *kfake.Cluster, group string) (sum int64) {
	info := b.GroupInfo(group)
	if info == nil {
		return 0
	}
	for _, partitions := range info.Commits {
		for _, c := range partitions {
			sum += c.Offset
		}
	}
	return sum
}

func TestConsumer_CommitsOnlyStoredRecords(t *testing.T) {
	t.Parallel()
	b := fake(t)
	cfg := configFor(b)
	cfg.Session = time.Minute // after its session a member may not commit any more
	s := newTestSender(t, cfg, "shop.events")
	to := newFakeInbound()
	to.set(true)
	c := startConsumer(t, cfg, to)
	forwardAll(t, s, rowsOf("order-1", 1, 5))
	to.until(t, "a few attempts", func(_ []store.Row, calls int) bool { return calls >= 3 })
	still := c.health.failures("store", 0)
	require.Len(t, still, 1)
	require.ErrorContains(t, still[0].err, "module store receives nothing since")
	stopConsumer(t, c) // which commits what may be committed
	require.Zero(t, committed(b.Cluster, "store"))

	to.set(false)
	c = startConsumer(t, cfg, to)
	to.has(t, 5)
	stopConsumer(t, c)
	require.EqualValues(t, 5, committed(b.Cluster, "store"))
	require.Empty(t, c.health.failures("store", 0))

	next := newFakeInbound()
	next.checkpoints = maps.Clone(to.checkpoints)
	startConsumer(t, cfg, next)
	forwardAll(t, s, rowsOf("order-1", 6, 1))
	require.EqualValues(t, 6, next.until(t, "the next one", func(rows []store.Row, _ int) bool { return len(rows) > 0 })[0].Sequence)
}

// The checkpoint decides, and not the group's committed offset.
func TestConsumer_StartsAtCheckpointOfRestoredDatabase(t *testing.T) {
	t.Parallel()
	b := fake(t)
	cfg := configFor(b)
	cfg.Session = time.Minute // after its session a member may not commit any more
	s := newTestSender(t, cfg, "shop.events")
	to := newFakeInbound()
	c := startConsumer(t, cfg, to)
	forwardAll(t, s, rowsOf("order-1", 1, 5))
	to.has(t, 5)
	to.mu.Lock()
	backup := maps.Clone(to.checkpoints)
	to.mu.Unlock()
	forwardAll(t, s, rowsOf("order-1", 6, 5))
	to.has(t, 10)
	stopConsumer(t, c)
	require.EqualValues(t, 10, committed(b.Cluster, "store"))

	restored := newFakeInbound()
	restored.checkpoints = backup
	c = startConsumer(t, cfg, restored)
	rows := restored.has(t, 5)
	require.EqualValues(t, 6, rows[0].Sequence)
	require.Zero(t, c.counters.gone.Load())
	stopConsumer(t, c)
	require.EqualValues(t, 10, committed(b.Cluster, "store"))

	lost := newFakeInbound()
	startConsumer(t, cfg, lost)
	require.EqualValues(t, 1, lost.has(t, 10)[0].Sequence, "a new database receives everything")
}

// A database may be restored while the process runs. The next record does not begin at its
// checkpoint then.
func TestConsumer_ReturnsToCheckpointOfDatabaseRestoredMeanwhile(t *testing.T) {
	t.Parallel()
	cfg := configFor(fake(t))
	s := newTestSender(t, cfg, "shop.events")
	to := newFakeInbound()
	startConsumer(t, cfg, to)
	forwardAll(t, s, rowsOf("order-1", 1, 5))
	to.has(t, 5)
	to.mu.Lock()
	backup := maps.Clone(to.checkpoints)
	to.mu.Unlock()
	forwardAll(t, s, rowsOf("order-1", 6, 5))
	to.has(t, 10)
	to.mu.Lock()
	to.checkpoints, to.rows = backup, to.rows[:5]
	to.mu.Unlock()
	forwardAll(t, s, rowsOf("order-1", 11, 1))
	to.has(t, 11)
}

func TestConsumer_ContinuesBehindDeletedRecords(t *testing.T) {
	t.Parallel()
	b := fake(t)
	cfg := configFor(b)
	cfg.Session = time.Minute // each session counts the deleted records
	s := newTestSender(t, cfg, "shop.events")
	to := newFakeInbound()
	c := startConsumer(t, cfg, to)
	forwardAll(t, s, rowsOf("order-1", 1, 5))
	to.has(t, 5)
	stopConsumer(t, c)
	forwardAll(t, s, rowsOf("order-1", 6, 15))
	require.NoError(t, b.DeleteRecords("shop.events", int32(store.PartitionOf("order-1")%4), 10))
	c = startConsumer(t, cfg, to)
	rows := to.has(t, 15)
	require.EqualValues(t, 11, rows[5].Sequence)
	require.EqualValues(t, 5, c.counters.gone.Load(), "and they are counted")
}

func TestConsumer_RebalanceLosesNothing(t *testing.T) {
	t.Parallel()
	b := fake(t)
	cfg := configFor(b)
	s := newTestSender(t, cfg, "shop.events")
	to := newFakeInbound()
	first := startConsumer(t, cfg, to)
	next := map[int]int{}
	all := 0
	send := func() {
		for k := range 16 {
			key := "order-" + string(rune('a'+k))
			p := store.PartitionOf(key)
			rows := rowsOf(key, next[p]+1, 10)
			for i := range rows {
				rows[i].Sequence += int64(1000 * p) // unique in all partitions
			}
			forwardAll(t, s, rows)
			next[p] += 10
			all += 10
		}
	}
	send()
	to.has(t, all)
	startConsumer(t, cfg, to)
	send()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := b.WaitGroupStable(ctx, "store", 2)
	require.NoError(t, err)
	send()
	to.has(t, all)
	stopConsumer(t, first)
	send()
	to.has(t, all)
}

// Brokers return these errors when they restart, rebalance or have moved the group.
func TestConsumer_RejoinsAfterCoordinatorErrors(t *testing.T) {
	t.Parallel()
	b := fake(t)
	cfg := configFor(b)
	s := newTestSender(t, cfg, "shop.events")
	to := newFakeInbound()
	startConsumer(t, cfg, to)
	forwardAll(t, s, rowsOf("order-1", 1, 5))
	to.has(t, 5)
	sent := 5
	for _, fault := range []*kerr.Error{kerr.NotCoordinator, kerr.UnknownMemberID, kerr.IllegalGeneration, kerr.RebalanceInProgress} {
		h := b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, Group: "store", TopLevel: true, Err: fault, Count: 1})
		eventually(t, fault.Message, func() bool { return h.Hits() == 1 })
		forwardAll(t, s, rowsOf("order-1", sent+1, 5))
		sent += 5
		to.has(t, sent)
	}
}

func TestConsumer_StopsInTimeWhileBrokersHang(t *testing.T) {
	t.Parallel()
	b := fake(t)
	cfg := configFor(b)
	s := newTestSender(t, cfg, "shop.events")
	to := newFakeInbound()
	c := startConsumer(t, cfg, to)
	forwardAll(t, s, rowsOf("order-1", 1, 5))
	to.has(t, 5)
	_, thaw := freeze(t, b.Cluster, kmsg.Fetch, kmsg.Heartbeat, kmsg.LeaveGroup, kmsg.OffsetCommit)
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	require.ErrorContains(t, c.stop(ctx), "module store could not leave its consumer group")
	thaw()
}
