package kafkatransport

import (
	"context"
	"maps"
	"math"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/platform/bus/envelope"
	"millrace/platform/bus/store"
)

func forwardAll(t testing.TB, f *forwarder, rows []store.Row) {
	t.Helper()
	confirmed, err := f.Forward(t.Context(), rows)
	require.NoError(t, err)
	require.Len(t, rows, confirmed)
}

// has waits until each number from 1 to n arrived.
func (s *database) has(t testing.TB, n int) []store.Row {
	t.Helper()
	return s.until(t, "every number", func(rows []store.Row, _ int) bool { return len(sequences(rows)) == n })
}

// produce writes a record as anybody may.
func produce(t testing.TB, cfg Config, m *sarama.ProducerMessage) {
	t.Helper()
	settings, err := cfg.producer()
	require.NoError(t, err)
	p, err := sarama.NewSyncProducer(cfg.Brokers, settings)
	require.NoError(t, err)
	_, _, err = p.SendMessage(m)
	require.NoError(t, err)
	require.NoError(t, p.Close())
}

func TestANewGroupReadsFromTheOldestRecord(t *testing.T) {
	t.Parallel()
	cfg := configFor(fake(t))
	f := made(t, cfg, "shop.events")
	forwardAll(t, f, rowsOf("order-1", 1, 700))
	to := newStore()
	receiving(t, cfg, to)
	for i, row := range to.has(t, 700) {
		require.EqualValues(t, i+1, row.Sequence)
	}
	to.mu.Lock()
	defer to.mu.Unlock()
	require.Less(t, to.calls, 100, "records are gathered")
}

// committed is how far the group is, over all partitions.
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

func TestTheGroupsOffsetFollowsOnlyWhatWasKept(t *testing.T) {
	t.Parallel()
	b := fake(t)
	cfg := configFor(b)
	cfg.Session = time.Minute // a member that stood still may not commit any more
	f := made(t, cfg, "shop.events")
	to := newStore()
	to.set(true)
	in := receiving(t, cfg, to)
	forwardAll(t, f, rowsOf("order-1", 1, 5))
	to.until(t, "a few attempts", func(_ []store.Row, calls int) bool { return calls >= 3 })
	still := in.stands(0)
	require.Len(t, still, 1)
	require.ErrorContains(t, still[0].why, "module store receives nothing since")
	leave(t, in) // which commits what may be committed
	require.Zero(t, committed(b.Cluster, "store"))

	to.set(false)
	in = receiving(t, cfg, to)
	to.has(t, 5)
	leave(t, in)
	require.EqualValues(t, 5, committed(b.Cluster, "store"))
	require.Empty(t, in.stands(0))

	again := newStore()
	again.marks = maps.Clone(to.marks)
	receiving(t, cfg, again)
	forwardAll(t, f, rowsOf("order-1", 6, 1))
	require.EqualValues(t, 6, again.until(t, "the next one", func(rows []store.Row, _ int) bool { return len(rows) > 0 })[0].Sequence)
}

// What the database has decides, and not what the group says: neither after a
// restore, nor when the group's offsets expired.
func TestADatabaseThatHasLessThanItsGroupIsGivenTheRestAgain(t *testing.T) {
	t.Parallel()
	b := fake(t)
	cfg := configFor(b)
	cfg.Session = time.Minute // a member that stood still may not commit any more
	f := made(t, cfg, "shop.events")
	to := newStore()
	in := receiving(t, cfg, to)
	forwardAll(t, f, rowsOf("order-1", 1, 5))
	to.has(t, 5)
	to.mu.Lock()
	backup := maps.Clone(to.marks)
	to.mu.Unlock()
	forwardAll(t, f, rowsOf("order-1", 6, 5))
	to.has(t, 10)
	leave(t, in)
	require.EqualValues(t, 10, committed(b.Cluster, "store"))

	restored := newStore()
	restored.marks = backup
	in = receiving(t, cfg, restored)
	rows := restored.has(t, 5)
	require.EqualValues(t, 6, rows[0].Sequence)
	require.Zero(t, in.counts.gone.Load())
	leave(t, in)
	require.EqualValues(t, 10, committed(b.Cluster, "store"))

	lost := newStore()
	receiving(t, cfg, lost)
	require.EqualValues(t, 1, lost.has(t, 10)[0].Sequence, "a new database has it all")
}

// A database may be restored while the process lives: what it receives next does
// not begin where the database ends.
func TestADatabaseThatIsRestoredUnderALivingProcessIsGivenTheRestAgain(t *testing.T) {
	t.Parallel()
	cfg := configFor(fake(t))
	f := made(t, cfg, "shop.events")
	to := newStore()
	receiving(t, cfg, to)
	forwardAll(t, f, rowsOf("order-1", 1, 5))
	to.has(t, 5)
	to.mu.Lock()
	backup := maps.Clone(to.marks)
	to.mu.Unlock()
	forwardAll(t, f, rowsOf("order-1", 6, 5))
	to.has(t, 10)
	to.mu.Lock()
	to.marks, to.rows = backup, to.rows[:5]
	to.mu.Unlock()
	forwardAll(t, f, rowsOf("order-1", 11, 1))
	to.has(t, 11)
}

func TestRecordsThatWereTrimmedPastTheGroupsOffsetDoNotHideTheRest(t *testing.T) {
	t.Parallel()
	b := fake(t)
	cfg := configFor(b)
	cfg.Session = time.Minute // each session counts what is gone
	f := made(t, cfg, "shop.events")
	to := newStore()
	in := receiving(t, cfg, to)
	forwardAll(t, f, rowsOf("order-1", 1, 5))
	to.has(t, 5)
	leave(t, in)
	forwardAll(t, f, rowsOf("order-1", 6, 15))
	require.NoError(t, b.DeleteRecords("shop.events", int32(store.PartitionOf("order-1")%4), 10))
	in = receiving(t, cfg, to)
	rows := to.has(t, 15)
	require.EqualValues(t, 11, rows[5].Sequence)
	require.EqualValues(t, 5, in.counts.gone.Load(), "and are told")
}

func TestForeignRecordsNeitherStopNorHideOurs(t *testing.T) {
	t.Parallel()
	cfg := configFor(fake(t))
	f := made(t, cfg, "shop.events")
	headers := func(typ string) []sarama.RecordHeader {
		return []sarama.RecordHeader{{Key: []byte("ce_type"), Value: []byte(typ)}, {Key: []byte("ce_id"), Value: []byte("A-1")}, {Key: []byte("ce_source"), Value: []byte("/legacy")}}
	}
	key := sarama.StringEncoder("order-1") // one partition
	produce(t, cfg, &sarama.ProducerMessage{Topic: "shop.events", Key: key, Value: sarama.ByteEncoder("\xff no JSON")})
	produce(t, cfg, &sarama.ProducerMessage{Topic: "shop.events", Key: key}) // a tombstone
	produce(t, cfg, &sarama.ProducerMessage{Topic: "shop.events", Key: key, Headers: headers("nobody.knows")})
	produce(t, cfg, &sarama.ProducerMessage{Topic: "shop.events", Key: key, Headers: headers("store.pack")})
	produce(t, cfg, &sarama.ProducerMessage{Topic: "shop.events", Key: key, Headers: headers("shop.noted")}) // which the store does not hear
	produce(t, cfg, &sarama.ProducerMessage{Topic: "shop.events", Key: key, Headers: headers("shop.paid"), Value: sarama.ByteEncoder(`{}`)})
	forwardAll(t, f, rowsOf("order-1", 1, 2))
	to := newStore()
	in := receiving(t, cfg, to)
	rows := to.until(t, "all", func(rows []store.Row, _ int) bool { return len(rows) == 5 })
	var types []string
	for _, row := range rows {
		types = append(types, row.Type)
	}
	require.Equal(t, []string{unreadable, unreadable, "shop.paid", "shop.paid", "shop.paid"}, types)
	require.Equal(t, []int64{0, 0, 0, 1, 2}, []int64{rows[0].Sequence, rows[1].Sequence, rows[2].Sequence, rows[3].Sequence, rows[4].Sequence})
	require.Equal(t, "/legacy", rows[2].Metadata[envelope.Source])
	require.Equal(t, []int64{2, 2, 1}, []int64{in.counts.unreadable.Load(), in.counts.skipped.Load(), in.counts.foreign.Load()})
}

func TestTwoMembersShareThePartitionsAndARebalanceLosesNothing(t *testing.T) {
	t.Parallel()
	b := fake(t)
	cfg := configFor(b)
	f := made(t, cfg, "shop.events")
	to := newStore()
	first := receiving(t, cfg, to)
	next := map[int]int{}
	all := 0
	send := func() {
		for k := range 16 {
			key := "order-" + string(rune('a'+k))
			p := store.PartitionOf(key)
			rows := rowsOf(key, next[p]+1, 10)
			for i := range rows {
				rows[i].Sequence += int64(1000 * p) // unique over all
			}
			forwardAll(t, f, rows)
			next[p] += 10
			all += 10
		}
	}
	send()
	to.has(t, all)
	receiving(t, cfg, to)
	send()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := b.WaitGroupStable(ctx, "store", 2)
	require.NoError(t, err)
	send()
	to.has(t, all)
	leave(t, first)
	send()
	to.has(t, all)
}

// TestACoordinatorThatFailsForAWhileIsJoinedAgain: what the brokers answer when
// they restart, rebalance or have moved the group.
func TestACoordinatorThatFailsForAWhileIsJoinedAgain(t *testing.T) {
	t.Parallel()
	b := fake(t)
	cfg := configFor(b)
	f := made(t, cfg, "shop.events")
	to := newStore()
	receiving(t, cfg, to)
	forwardAll(t, f, rowsOf("order-1", 1, 5))
	to.has(t, 5)
	sent := 5
	for _, fault := range []*kerr.Error{kerr.NotCoordinator, kerr.UnknownMemberID, kerr.IllegalGeneration, kerr.RebalanceInProgress} {
		h := b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, Group: "store", TopLevel: true, Err: fault, Count: 1})
		eventually(t, fault.Message, func() bool { return h.Hits() == 1 })
		forwardAll(t, f, rowsOf("order-1", sent+1, 5))
		sent += 5
		to.has(t, sent)
	}
}

func TestLeavingWhileTheBrokersHangEndsInTime(t *testing.T) {
	t.Parallel()
	b := fake(t)
	cfg := configFor(b)
	f := made(t, cfg, "shop.events")
	to := newStore()
	in := receiving(t, cfg, to)
	forwardAll(t, f, rowsOf("order-1", 1, 5))
	to.has(t, 5)
	_, thaw := freeze(t, b.Cluster, kmsg.Fetch, kmsg.Heartbeat, kmsg.LeaveGroup, kmsg.OffsetCommit)
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	require.ErrorContains(t, in.stop(ctx), "module store could not leave its consumer group")
	thaw()
}

func TestIntake_CountsRecordsSinceTheCheckpoint(t *testing.T) {
	t.Parallel()
	in := &intake{}
	at := func(topic string, offset, from int64) arrival {
		return arrival{record: &sarama.ConsumerMessage{Topic: topic, Offset: offset}, incarnation: "a", from: from}
	}
	marks := []store.Checkpoint{{Topic: "shop.events", TopicID: "a", From: 100, To: 5_000_001}}
	require.EqualValues(t, 1, in.since(at("shop.events", 100, 100), marks))
	require.EqualValues(t, 4_999_901, in.since(at("shop.events", 5_000_000, 100), marks), "Kafka's retention deleted what was between")
	require.Zero(t, in.since(at("till.events", 5_000_000, 100), marks))
	renewed := at("shop.events", 0, 0)
	renewed.renewed = true
	require.EqualValues(t, math.MaxInt64, in.since(renewed, marks))
}
