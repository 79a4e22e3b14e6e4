package sqltransport

import (
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
)

// One subscriber has read a row of which another was not notified: its publisher was
// killed before its notification left.
func TestPoll_WakesSubscriberThatMissedWhatAnotherHasRead(t *testing.T) {
	t.Parallel()
	db := shop(t)
	r := newReader(db, "shop.events", "shop.log")
	tr := &Transport{db: db, cfg: Config{Logger: slog.Default()}, readers: map[string]*reader{"shop.events": r}, subscribers: map[string]*subscriber{}}
	for _, name := range []string{"ahead", "late"} {
		s := emptySubscriber(tr, name, name, db)
		s.addTasks("shop.events")
		s.readers["shop.events"] = r
		close(s.started)
		tr.subscribers[name] = s
	}
	say(t, db, 1, 10)
	require.Empty(t, next(t, r, 1, 10), "what one is behind already, taking over")
	require.NoError(t, tr.poll(t.Context(), "shop.events", r))
	late := tr.subscribers["late"]
	require.Equal(t, queued, late.tasks["shop.events"][7].state)
	require.Equal(t, []int64{1}, next(t, r, 0, 10))

	late.tasks["shop.events"][7].state = idle
	require.NoError(t, tr.poll(t.Context(), "shop.events", r))
	require.Equal(t, idle, late.tasks["shop.events"][7].state, "nothing new, and nobody is woken")
}
