package deadletter_test

import (
	"database/sql"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
	"millrace/platform/bus/admin"
	"millrace/platform/bus/bustest"
	"millrace/platform/bus/deadletter"
	"millrace/platform/errs"
	"millrace/platform/postgres"
)

type quiet struct{ name string }

func (q quiet) Name() string                    { return q.name }
func (quiet) Publishes() []bus.Event            { return nil }
func (quiet) Sends() []bus.Command              { return nil }
func (quiet) Subscriptions() []bus.Subscription { return nil }

var modules = []string{"shop", "store"}

// letters returns a database without nodes, with these parked rows at
// the store and one at the shop.
func letters(t *testing.T) *sql.DB {
	t.Helper()
	url := bustest.Database(t, modules...)
	topo, err := bus.NewTopology(quiet{"shop"}, quiet{"store"})
	require.NoError(t, err)
	require.NoError(t, admin.Migrate(t.Context(), url, topo))
	db, err := postgres.Open(t.Context(), postgres.Config{URL: url, MaxConns: 10})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	for _, module := range modules {
		_, err = db.ExecContext(t.Context(), `
			INSERT INTO `+module+`.parked_messages (subscriber, topic, partition, "offset", message_id, type, key, payload, metadata, state, attempts, next_attempt_at, kind, error, failed_at)
			SELECT '`+module+`', 'till.events', 5, o, gen_random_uuid(), 'till.paid', k, '', '{}', s, 3, CASE s WHEN 'retry_scheduled' THEN 'infinity'::timestamptz END, 'unknown', 'e' || o, now() - o * interval '1 minute'
			FROM (VALUES (1, 'a', 'dead'), (2, 'a', 'blocked'), (3, 'a', 'blocked'), (4, 'b', 'retry_scheduled'), (5, 'c', 'discarded'), (6, 'c', 'dead')) AS rows(o, k, s)`)
		require.NoError(t, err)
	}
	return db
}

func TestList_ShowsDeadLettersOldestFirstWithBlockedMessages(t *testing.T) {
	t.Parallel()
	db := letters(t)
	got, err := deadletter.List(t.Context(), db, modules, 1000)
	require.NoError(t, err)
	require.Len(t, got, 4)
	for i, want := range []struct {
		id, key string
		behind  int
	}{{"shop/6", "c", 0}, {"store/6", "c", 0}, {"shop/1", "a", 2}, {"store/1", "a", 2}} {
		at := got[i]
		if i%2 == 0 && at.Subscriber != "shop" { // both failed at the same time
			at = got[i+1]
		} else if i%2 == 1 && at.Subscriber != "store" {
			at = got[i-1]
		}
		require.Equal(t, want.id, at.ID)
		require.Equal(t, want.key, at.Key)
		require.Equal(t, want.behind, at.Behind)
		require.Equal(t, 3, at.Attempts)
	}
	oldest, err := deadletter.List(t.Context(), db, modules, 3)
	require.NoError(t, err)
	require.ElementsMatch(t, got[:2], oldest[:2])
	require.Len(t, oldest, 3)
	none, err := deadletter.List(t.Context(), db, nil, 1000)
	require.NoError(t, err)
	require.Empty(t, none)
}

// A module's role may write any time into its own table.
func TestList_ShowsWhatFailedAtATimeThatIsNone(t *testing.T) {
	t.Parallel()
	db := letters(t)
	_, err := db.ExecContext(t.Context(), `UPDATE shop.parked_messages SET failed_at = '-infinity', created_at = 'infinity'`)
	require.NoError(t, err)
	got, err := deadletter.List(t.Context(), db, modules, 1000)
	require.NoError(t, err)
	require.Len(t, got, 4)
}

func TestRetry_OneOfManyOperatorsWinsAndOthersGetConflict(t *testing.T) {
	t.Parallel()
	db := letters(t)
	var mu sync.Mutex
	kinds := map[errs.Kind]int{}
	won := 0
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			err := deadletter.Retry(t.Context(), db, modules, "store/1")
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won++
			} else {
				kinds[errs.KindOf(err)]++
			}
		})
	}
	all.Wait()
	require.Equal(t, 1, won)
	require.Equal(t, map[errs.Kind]int{errs.Conflict: 7}, kinds)
	var state string
	require.NoError(t, db.QueryRowContext(t.Context(), `SELECT state || ' ' || attempts FROM store.parked_messages WHERE id = 1`).Scan(&state))
	require.Equal(t, "retry_scheduled 0", state)
}

func TestRetry_ChangesNothingUnlessDeadLetter(t *testing.T) {
	t.Parallel()
	db := letters(t)
	for id, want := range map[string]errs.Kind{
		"": errs.Invalid, "store": errs.Invalid, "store/": errs.Invalid, "store/x": errs.Invalid, "bus/1": errs.Invalid, "store.parked; --/1": errs.Invalid,
		"store/99": errs.NotFound, "store/2": errs.Conflict, "store/4": errs.Conflict, "store/5": errs.Conflict,
	} {
		err := deadletter.Retry(t.Context(), db, modules, id)
		require.Equal(t, want, errs.KindOf(err), "%q: %v", id, err)
	}
	var states string
	require.NoError(t, db.QueryRowContext(t.Context(), `SELECT string_agg(state, ',' ORDER BY id) FROM store.parked_messages`).Scan(&states))
	require.Equal(t, "dead,blocked,blocked,retry_scheduled,discarded,dead", states)
}

func TestDiscard_RecordsWhoAndWhyAndNeedsBoth(t *testing.T) {
	t.Parallel()
	db := letters(t)
	for _, reason := range []string{" ", "a\u202eb", "a\nb", "a\x1b[2Jb", "\u200b", "a\x00b", "\xff", strings.Repeat("가", 501)} {
		require.Equal(t, "reason", errs.FieldOf(deadletter.Discard(t.Context(), db, modules, "store/1", "kim", reason)), "%q", reason)
	}
	require.Equal(t, "by", errs.FieldOf(deadletter.Discard(t.Context(), db, modules, "store/1", "ki\u200bm", "why")))
	require.Equal(t, "by", errs.FieldOf(deadletter.Discard(t.Context(), db, modules, "store/1", "", "a test order")))
	require.Equal(t, errs.Conflict, errs.KindOf(deadletter.Discard(t.Context(), db, modules, "store/2", "kim", "it is held")))
	require.NoError(t, deadletter.Discard(t.Context(), db, modules, "store/1", "kim", "a test order"))
	require.Equal(t, errs.Conflict, errs.KindOf(deadletter.Discard(t.Context(), db, modules, "store/1", "lee", "me too")))
	require.Equal(t, errs.Conflict, errs.KindOf(deadletter.Retry(t.Context(), db, modules, "store/1")))
	var row string
	require.NoError(t, db.QueryRowContext(t.Context(), `SELECT state || ' by ' || decided_by || ': ' || reason FROM store.parked_messages WHERE id = 1 AND decided_at IS NOT NULL`).Scan(&row))
	require.Equal(t, "discarded by kim: a test order", row)
}
