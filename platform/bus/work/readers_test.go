package work

import (
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
)

// One group has read a record of which another was not notified: its publisher was killed
// before its notification was sent.
func TestReaders_PollWakesGroupThatMissedWhatAnotherHasRead(t *testing.T) {
	t.Parallel()
	db := shop(t)
	r := reader(db)
	var late *Assignment
	for range 2 {
		late = newAssignment(newQueue())
		late.add("shop.events")
		r.wakes(late, "shop.events")
	}
	all := Readers{"shop.events": r}
	publish(t, db, 1, 10)
	require.Empty(t, next(t, r, 1, 10), "one is behind it already, after a failover")
	all.Poll(t.Context(), slog.Default())
	require.Equal(t, queued, late.streams["shop.events"][7].state)
	require.Equal(t, []int64{1}, next(t, r, 0, 10))

	late.streams["shop.events"][7].state = idle
	all.Poll(t.Context(), slog.Default())
	require.Equal(t, idle, late.streams["shop.events"][7].state, "nothing new, and nobody is woken")
}
