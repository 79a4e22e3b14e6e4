package kafkatransport

import (
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/platform/bus/envelope"
	"millrace/platform/bus/store"
	"millrace/platform/errs"
)

// freeze makes a broker take requests of a kind and answer none until the
// returned function is called; entered is told of the first.
func freeze(t *testing.T, b *kfake.Cluster, keys ...kmsg.Key) (entered <-chan struct{}, thaw func()) {
	t.Helper()
	in, gate := make(chan struct{}), make(chan struct{})
	var first, once sync.Once
	for _, key := range keys {
		b.ControlKey(int16(key), func(kmsg.Request) (kmsg.Response, error, bool) {
			b.KeepControl()
			first.Do(func() { close(in) })
			b.SleepControl(func() { <-gate })
			return nil, nil, false
		})
	}
	thaw = func() { once.Do(func() { close(gate) }) }
	t.Cleanup(thaw)
	return in, thaw
}

func TestRowsArriveInOrderUnderTheirKeysPartition(t *testing.T) {
	t.Parallel()
	cfg := configFor(fake(t))
	f := made(t, cfg, "shop.events")
	for first := 1; first < 1500; first += 500 {
		confirmed, err := f.Forward(t.Context(), rowsOf("order-1", first, 500))
		require.NoError(t, err)
		require.Equal(t, 500, confirmed)
	}
	for i, m := range consumed(t, cfg, "shop.events", 1500) {
		require.Equal(t, strconv.Itoa(i+1), header(m, envelope.Sequence))
		require.EqualValues(t, store.PartitionOf("order-1")%4, m.Partition)
	}
	require.Empty(t, f.blocked(0))
}

func TestOnlyWhatTheBrokersHaveFromTheFirstOnIsConfirmed(t *testing.T) {
	t.Parallel()
	b := fake(t)
	cfg := configFor(b)
	f := made(t, cfg, "shop.events")
	rows := rowsOf("order-1", 1, 10)
	rows[4].Payload = make([]byte, 2<<20) // nothing checks sizes before us: it is more than any broker takes
	confirmed, err := f.Forward(t.Context(), rows)
	require.Equal(t, 4, confirmed)
	require.Equal(t, errs.Resource, errs.KindOf(err))
	require.ErrorContains(t, err, rows[4].ID.String()+" (shop.paid)")
	require.NotEmpty(t, f.blocked(0), "a refused record blocks its partition, visibly")

	confirmed, err = f.Forward(t.Context(), append(rows[4:5:5], rows[5:]...))
	require.Zero(t, confirmed)
	require.Error(t, err)

	rows[4].Payload = []byte(`{}`)
	confirmed, err = f.Forward(t.Context(), rows[4:])
	require.NoError(t, err)
	require.Equal(t, 6, confirmed)
	require.Empty(t, f.blocked(0))
	seen := map[string]int{}
	for _, m := range consumed(t, cfg, "shop.events", 20) { // 6 to 10 three times
		seen[header(m, envelope.Sequence)]++
	}
	for n := 1; n <= 10; n++ {
		require.Positive(t, seen[strconv.Itoa(n)], "%d is lost", n)
	}
}

// TestAPassingFaultCostsNoErrorAndNoRepetition: what the stock producer answers
// with an error, or writes twice.
func TestAPassingFaultCostsNoErrorAndNoRepetition(t *testing.T) {
	t.Parallel()
	b := fake(t)
	cfg := configFor(b)
	f := made(t, cfg, "shop.events")
	next := 1
	for _, fault := range []*kerr.Error{kerr.NotLeaderForPartition, kerr.RequestTimedOut, kerr.NotEnoughReplicasAfterAppend, kerr.NotEnoughReplicas} {
		h := b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "shop.events", Err: fault, Count: 2})
		confirmed, err := f.Forward(t.Context(), rowsOf("order-1", next, 20))
		require.NoError(t, err, "%s", fault.Message)
		require.Equal(t, 20, confirmed)
		require.Positive(t, h.Hits(), "%s", fault.Message)
		h.Remove()
		next += 20
	}
	for i, m := range consumed(t, cfg, "shop.events", 80) {
		require.Equal(t, strconv.Itoa(i+1), header(m, envelope.Sequence))
	}
}

func TestABlockedSendReturnsInTimeAndTheNextCallWaitsForIt(t *testing.T) {
	t.Parallel()
	b := fake(t)
	cfg := configFor(b)
	f := made(t, cfg, "shop.events")
	_, err := f.Forward(t.Context(), rowsOf("order-1", 1, 5))
	require.NoError(t, err)
	f.limit = 200 * time.Millisecond
	entered, thaw := freeze(t, b.Cluster, kmsg.Produce)

	rows := rowsOf("order-1", 6, 5)
	confirmed, err := f.Forward(t.Context(), rows)
	require.Zero(t, confirmed)
	require.Equal(t, errs.Resource, errs.KindOf(err))
	require.ErrorContains(t, err, "is blocked since")
	<-entered
	require.Len(t, f.blocked(0), 1)
	require.Empty(t, f.blocked(time.Hour))
	require.Len(t, f.sending, 1)

	_, err = f.Forward(t.Context(), rows)
	require.ErrorContains(t, err, "is blocked since", "the second call waits too")
	f.limit = patience
	answer := make(chan int)
	go func() {
		confirmed, _ := f.Forward(t.Context(), rows) //nolint:errcheck // the number tells
		answer <- confirmed
	}()
	thaw()
	require.Equal(t, 5, <-answer)
	written := int64(0)
	for _, p := range b.PartitionInfos("shop.events") {
		written += p.HighWatermark
	}
	require.EqualValues(t, 10, written, "the rows were sent once")
	require.Empty(t, f.blocked(0))
}

func TestClosingWhileTheBrokersHangEndsInTime(t *testing.T) {
	t.Parallel()
	b := fake(t)
	cfg := configFor(b)
	f := made(t, cfg, "shop.events")
	entered, _ := freeze(t, b.Cluster, kmsg.Produce)
	answer := make(chan error)
	go func() {
		_, err := f.Forward(t.Context(), rowsOf("order-1", 1, 5))
		answer <- err
	}()
	<-entered
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		f.close(100 * time.Millisecond)
	}()
	require.Equal(t, errs.Shutdown, errs.KindOf(<-answer))
	select {
	case <-closed:
	case <-time.After(patience):
		require.FailNow(t, "close hangs with the broker")
	}
}

func TestManyLanesAreSentAtTheSameTime(t *testing.T) {
	t.Parallel()
	cfg := configFor(fake(t))
	f := made(t, cfg, "shop.events")
	var all sync.WaitGroup
	for k := range 32 {
		all.Go(func() {
			for first := 1; first < 100; first += 10 {
				if n, err := f.Forward(t.Context(), rowsOf("order-"+strconv.Itoa(k), first, 10)); err != nil || n != 10 {
					t.Errorf("%d: %d %v", k, n, err)
				}
			}
		})
	}
	all.Wait()
	next := map[string]int{}
	for _, m := range consumed(t, cfg, "shop.events", 3200) {
		next[string(m.Key)]++
		require.Equal(t, strconv.Itoa(next[string(m.Key)]), header(m, envelope.Sequence), "order of %s", m.Key)
	}
}
