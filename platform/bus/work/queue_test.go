package work

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestQueue_PausedPartitionOccupiesNoWorkerAndReturnsByItsTimer(t *testing.T) {
	t.Parallel()
	q := newQueue()
	troubled, healthy := &Partition{Number: 1}, &Partition{Number: 2}
	q.wake(troubled)
	require.Same(t, troubled, q.next())
	q.pause(troubled, time.Hour)
	q.wake(troubled) // a commit does not shorten the pause
	q.wake(healthy)
	require.Same(t, healthy, q.next())
	require.Equal(t, paused, troubled.state)

	q.wake(troubled)
	q.Done(healthy, false)
	q.pause(healthy, 0)
	require.Same(t, healthy, q.next(), "by its timer: nothing woke it")
}

func TestQueue_OnlyPartitionsThatNeedNothingButReadingShareABatch(t *testing.T) {
	t.Parallel()
	q := newQueue()
	plain := func() *Partition { return &Partition{assigned: true, loaded: true} }
	waiting := []*Partition{plain(), plain()}
	for _, w := range waiting {
		q.wake(w)
	}
	require.Nil(t, q.Another(3, nil), "other workers take them")
	require.Same(t, waiting[0], q.Another(2, nil))
	for name, change := range map[string]func(*Partition){
		"NotAssigned": func(p *Partition) { p.assigned = false }, "Releasing": func(p *Partition) { p.release = true },
		"AssignedAgain": func(p *Partition) { p.reload = true }, "NotLoaded": func(p *Partition) { p.loaded = false },
		"ParkedMessageDue": func(p *Partition) { p.parked = true }, "Locked": func(p *Partition) { p.lockTries = 1 },
	} {
		q, odd := newQueue(), plain()
		change(odd)
		q.wake(odd)
		require.Nil(t, q.Another(1, nil), name)
		require.Same(t, odd, q.next(), name)
	}
	q, odd := newQueue(), plain()
	q.wake(odd)
	require.Nil(t, q.Another(1, func(*Partition) bool { return false }), "the caller refuses it")
	require.Same(t, odd, q.Another(1, func(*Partition) bool { return true }))
}
