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

	"millrace/platform/bus/kafkatransport/fakebroker"
)

func fake(t *testing.T) *fakebroker.Broker {
	t.Helper()
	b, err := fakebroker.Start(kfake.GroupMinSessionTimeout(time.Second))
	require.NoError(t, err)
	t.Cleanup(b.Close)
	return b
}

func TestPartitionsAddedAtAFakeBrokerAreUsed(t *testing.T) {
	t.Parallel()
	partitionsAdded(t, onReal(fake(t).Addresses()))
}

func TestAStormOfRebalancesAtAFakeBrokerLosesAndDoublesNothing(t *testing.T) {
	t.Parallel()
	storm(t, onReal(fake(t).Addresses()))
}

func TestEachRecordIsConfirmedByAllReplicasAndWrittenOnce(t *testing.T) {
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
	o := open(t, onReal(b.Addresses()))
	o.say(0, 10)
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

// TestWhatAnotherProducerSendsAgainHasOneEffect: brokers know a repetition as
// long as the producer has not given up. What is sent after that, or by the
// process that follows, is another record to them, and the same message here.
func TestWhatAnotherProducerSendsAgainHasOneEffect(t *testing.T) {
	t.Parallel()
	b := fake(t)
	o := open(t, onReal(b.Addresses()))
	o.say(0, 10)
	o.effects(10)
	before := written(b, "shop.events")                                                                       // ten, unless the machine stood still in between
	unconfirmed := b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.RequestTimedOut, Count: -1}) // it is written, and not confirmed
	require.NoError(t, o.sayOne("order-a", 10))
	o.effects(11)
	eventually(t, "repetitions", func() bool { return unconfirmed.Hits() > 4 })
	require.Equal(t, before+1, written(b, "shop.events"), "the producer's own repetitions are known as such")
	o.stop()
	unconfirmed.Remove()
	o.Transport, _ = o.host(o.topo.Modules())
	eventually(t, "a record that was sent again", func() bool { return written(b, "shop.events") >= before+2 })
	o.say(11, 10)
	o.effects(21)
}

// TestALostSessionRepeatsNoEffect: the brokers forget a member, and with it what
// it has not committed yet.
func TestALostSessionRepeatsNoEffect(t *testing.T) {
	t.Parallel()
	b := fake(t)
	o := open(t, onReal(b.Addresses()))
	commits := b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Group: "store", Err: kerr.UnknownMemberID, Count: -1})
	o.say(0, 20)
	o.effects(20)
	received := o.Counts().Received
	b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, Group: "store", TopLevel: true, Err: kerr.UnknownMemberID, Count: 1})
	eventually(t, "repetitions", func() bool { return o.Counts().Received >= received+20 })
	require.Positive(t, commits.Hits())
	commits.Remove()
	o.say(20, 10)
	o.effects(30)
}

// TestAGroupWhoseOffsetsAreGoneHandlesNothingAgain: they expired, somebody
// deleted the group. Its database knows how far it is.
func TestAGroupWhoseOffsetsAreGoneHandlesNothingAgain(t *testing.T) {
	t.Parallel()
	b := fake(t)
	o := open(t, onReal(b.Addresses()))
	o.say(0, 20)
	o.effects(20)
	o.stop()
	_, a := admin(t, b.Addresses())
	require.NoError(t, a.DeleteConsumerGroup("store"))
	o.Transport, _ = o.host(o.topo.Modules())
	o.say(20, 10)
	o.effects(30)
}

// TestAMessageThatKeepsFailingHoldsUpNoRebalance: another process joins while it
// is tried again and again, and what is healthy goes on.
func TestAMessageThatKeepsFailingHoldsUpNoRebalance(t *testing.T) {
	t.Parallel()
	b := fake(t)
	o := open(t, onReal(b.Addresses()))
	require.NoError(t, o.sayOne(brokenOrder, -9))
	eventually(t, "a failure", func() bool { return o.text(`SELECT count(*) FROM store.aside WHERE state = 'retrying'`) == "2" })
	o.host([]string{"store"})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := b.WaitGroupStable(ctx, "store", 2)
	require.NoError(t, err)
	o.say(0, 20)
	o.took(20)
	require.Equal(t, "2", o.text(`SELECT count(*) FROM store.aside WHERE state <> 'held'`))
}
