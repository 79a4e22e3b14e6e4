package kafkatransport

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"millrace/platform/bus/store"
)

// slowSender confirms when the test allows it. It records a Close during a call,
// on which the library's producer panics (send on closed channel).
type slowSender struct {
	calls    atomic.Int64
	inside   atomic.Int64
	panics   atomic.Bool
	confirms chan struct{}
}

func (p *slowSender) publish(rows []store.Row) (int, error) {
	p.calls.Add(1)
	p.inside.Add(1)
	defer p.inside.Add(-1)
	<-p.confirms
	return len(rows), nil
}

func (p *slowSender) close() error {
	p.panics.Store(p.inside.Load() > 0)
	return nil
}

// Close without Drain, while relays work.
func TestForwarder_ClosesPublisherAfterLastCall(t *testing.T) {
	t.Parallel()
	p := &slowSender{confirms: make(chan struct{})}
	f := &forwarder{limit: time.Minute, log: slog.New(slog.DiscardHandler), send: p,
		closed: make(chan struct{}), sending: map[lane]*batch{}, failing: map[lane]failure{}}
	rows := func(partition int) []store.Row {
		return []store.Row{{ID: uuid.New(), Type: "shop.paid", Topic: "shop.events", Source: "shop", Key: "k", Partition: partition, Sequence: 1}}
	}
	var relays sync.WaitGroup
	for partition := range 8 {
		relays.Go(func() { _, _ = f.Forward(t.Context(), rows(partition)) })
	}
	require.Eventually(t, func() bool { return p.inside.Load() == 8 }, time.Minute, time.Millisecond)
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		f.close(time.Minute)
	}()
	relays.Wait() // each ends at once with the forwarder
	_, err := f.Forward(t.Context(), rows(9))
	require.ErrorContains(t, err, "the transport is closed")
	require.EqualValues(t, 8, p.calls.Load(), "nothing is sent once it closes")
	close(p.confirms)
	<-closed
	require.False(t, p.panics.Load(), "closed under a call")
}
