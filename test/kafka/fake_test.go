package kafka

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
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
