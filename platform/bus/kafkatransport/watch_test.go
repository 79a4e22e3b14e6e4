package kafkatransport

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/platform/bus/store"
)

// What is said after a long silence has not lain unread all the while: nobody
// takes it for a subscription that stands still before it has lain for Stall.
func TestWhatIsSaidAfterASilenceHasNotLainUnreadSinceItBegan(t *testing.T) {
	t.Parallel()
	cfg := configFor(fake(t))
	cfg.Stall = time.Hour
	f := made(t, cfg, "shop.events")
	a, err := newTopicAdmin(cfg)
	require.NoError(t, err)
	t.Cleanup(a.close)
	in := newIntake(cfg, "store", []string{"shop.events"}, topology(t), newStore(), a, &counters{})
	at := place{"shop.events", int32(store.PartitionOf("order-1") % 4)}
	key, long := watched{in.module, at}, time.Now().Add(-2*cfg.Stall)
	w := &Transport{cfg: cfg, admin: a, seen: map[watched]progress{key: {committed: 0, since: long}}}
	compare := func() bool {
		stuck, err := w.compare(in, at, 0)
		require.NoError(t, err)
		return stuck
	}
	require.False(t, compare(), "there is nothing to read")
	forwardAll(t, f, rowsOf("order-1", 1, 3))
	require.False(t, compare(), "it has come this moment")
	require.Zero(t, in.counts.reread.Load())

	w.seen[key] = progress{committed: 0, since: long}
	require.True(t, compare(), "it has lain for long")
	require.EqualValues(t, 3, in.counts.reread.Load())
	require.Len(t, in.stands(0), 1)
}
