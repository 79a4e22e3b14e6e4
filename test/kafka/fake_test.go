//go:build kafka || slow || cloudevents

package kafka

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/platform/bus/kafkabridge/fakebroker"
)

func fake(t *testing.T) *fakebroker.Broker {
	t.Helper()
	b, err := fakebroker.Start(kfake.GroupMinSessionTimeout(time.Second))
	require.NoError(t, err)
	t.Cleanup(b.Close)
	return b
}

func TestProducer_UsesPartitionsAddedToAFakeBroker(t *testing.T) {
	t.Parallel()
	partitionsAdded(t, configFor(fake(t).Addresses()))
}

func TestConsumer_RebalancesOfAFakeBrokerLoseAndDuplicateNothing(t *testing.T) {
	t.Parallel()
	storm(t, configFor(fake(t).Addresses()))
}

func TestProducer_WaitsForAllReplicasAndWritesOnce(t *testing.T) {
	t.Parallel()
	b := fake(t)
	var mu sync.Mutex
	acks, idempotent, seen := map[int16]bool{}, true, 0
	b.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		b.KeepControl()
		mu.Lock()
		defer mu.Unlock()
		request, is := r.(*kmsg.ProduceRequest)
		if !is {
			return nil, nil, false
		}
		acks[request.Acks] = true
		for _, topic := range request.Topics {
			for _, p := range topic.Partitions {
				var batch kmsg.RecordBatch
				seen++
				if err := batch.ReadFrom(p.Records); err != nil || batch.ProducerID < 0 || batch.FirstSequence < 0 {
					idempotent = false
				}
			}
		}
		return nil, nil, false
	})
	o := open(t, configFor(b.Addresses()))
	o.publish(0, 10)
	o.effects(10)
	mu.Lock()
	defer mu.Unlock()
	require.Positive(t, seen)
	require.Equal(t, map[int16]bool{-1: true}, acks)
	require.True(t, idempotent, "each batch has its producer's number, so that a repeated one is not written again")
}

// written counts a topic's records.
func written(b *fakebroker.Broker, topic string) (n int64) {
	for _, p := range b.PartitionInfos(topic) {
		n += p.HighWatermark
	}
	return n
}

// Brokers deduplicate the retries of one producer. After the producer gave up, or
// when another process sends the row again, they store a second record. The
// receiver must recognize it as the same message.
func TestConsumer_RecordResentByAnotherProducerHasOneEffect(t *testing.T) {
	t.Parallel()
	b := fake(t)
	o := open(t, configFor(b.Addresses()))
	o.publish(0, 10)
	o.effects(10)
	before := written(b, "shop.events")                                                                       // ten, or more if the machine stalled
	unconfirmed := b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.RequestTimedOut, Count: -1}) // written, but not confirmed
	require.NoError(t, o.publishOne("order-a", 10))
	o.effects(11)
	eventually(t, "repetitions", func() bool { return unconfirmed.Hits() > 4 })
	require.Equal(t, before+1, written(b, "shop.events"), "the producer's own repetitions are known as such")
	o.stop()
	unconfirmed.Remove()
	o.Transport, _ = o.host(o.topo.Modules())
	eventually(t, "a record that was sent again", func() bool { return written(b, "shop.events") >= before+2 })
	o.publish(11, 10)
	o.effects(21)
}

// The brokers remove a group member that has not committed its group offsets, so the
// next session reads the records again.
func TestConsumer_LostSessionRepeatsNoEffect(t *testing.T) {
	t.Parallel()
	b := fake(t)
	o := open(t, configFor(b.Addresses()))
	commits := b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Group: "store", Err: kerr.UnknownMemberID, Count: -1})
	o.publish(0, 20)
	o.effects(20)
	received := o.Counts().Received
	b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, Group: "store", TopLevel: true, Err: kerr.UnknownMemberID, Count: 1})
	eventually(t, "repetitions", func() bool { return o.Counts().Received >= received+20 })
	require.Positive(t, commits.Hits())
	commits.Remove()
	o.publish(20, 10)
	o.effects(30)
}

// The group's offsets expire or are deleted at the brokers. The checkpoints in the
// receiver's database still hold them.
func TestConsumer_LostGroupOffsetsRepeatNoEffect(t *testing.T) {
	t.Parallel()
	b := fake(t)
	o := open(t, configFor(b.Addresses()))
	o.publish(0, 20)
	o.effects(20)
	o.stop()
	_, a := askBrokers(t, b.Addresses())
	require.NoError(t, a.DeleteConsumerGroup("store"))
	o.Transport, _ = o.host(o.topo.Modules())
	o.publish(20, 10)
	o.effects(30)
}

// Another process joins the group while a message fails repeatedly; other messages
// are still handled.
func TestConsumer_FailingMessageDelaysNoRebalance(t *testing.T) {
	t.Parallel()
	b := fake(t)
	o := open(t, configFor(b.Addresses()))
	require.NoError(t, o.publishOne(brokenOrder, -9))
	eventually(t, "a failure", func() bool {
		return o.text(`SELECT count(*) FROM store.parked_messages WHERE state = 'retry_scheduled'`) == "2"
	})
	o.host([]string{"store"})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := b.WaitGroupStable(ctx, "store", 2)
	require.NoError(t, err)
	o.publish(0, 20)
	o.took(20)
	require.Equal(t, "2", o.text(`SELECT count(*) FROM store.parked_messages WHERE state <> 'blocked'`))
}
