package outbound

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"millrace/platform/errs"
)

var posts = []string{"post"}

func TestRetry_FailedCallIsListedAndRetriedOnce(t *testing.T) {
	t.Parallel()
	h := setup(t)
	mended := atomic.Bool{}
	ids := make(chan uuid.UUID, 9)
	q := New(h.db, Config[letter, string]{Name: "letter", OnComplete: effect,
		Do: func(_ context.Context, call Call[letter]) (string, error) {
			ids <- call.ID
			if !mended.Load() {
				return "", errs.New(errs.Invalid, "no such box as kim@example.com")
			}
			return "250 ok", nil
		}})
	stop := h.start(q)
	id := h.record(q, "goods-1")
	h.waitForState(id, "failed")
	stop()

	calls, err := Failed(t.Context(), h.sql, posts, 100)
	require.NoError(t, err)
	require.Len(t, calls, 1)
	require.False(t, calls[0].FailedAt.IsZero())
	want := FailedCall{ID: "post/call/" + id.String(), Module: "post", Name: "letter", Key: "goods-1", Correlation: "talk-goods-1",
		Attempts: 1, Error: "no such box as ***@***", FailedAt: calls[0].FailedAt}
	require.Equal(t, want, calls[0])

	require.NoError(t, Retry(t.Context(), h.sql, posts, want.ID))
	require.Equal(t, "pending 0", h.text(`SELECT state || ' ' || attempts FROM outbound_calls`))
	require.Equal(t, errs.Conflict, errs.KindOf(Retry(t.Context(), h.sql, posts, want.ID)), "another change came first")
	calls, err = Failed(t.Context(), h.sql, posts, 100)
	require.NoError(t, err)
	require.Empty(t, calls)

	mended.Store(true)
	h.start(q)
	h.waitForState(id, "succeeded")
	require.Equal(t, id, within(t, ids))
	require.Equal(t, id, within(t, ids), "under the same name")
	require.Equal(t, "2", h.text(`SELECT count(*) FROM effects`), "the failure, and the success")
	require.Equal(t, errs.Conflict, errs.KindOf(Retry(t.Context(), h.sql, posts, want.ID)))
}

func TestFailed_ListsOldestFirstUpToLimit(t *testing.T) {
	t.Parallel()
	h := setup(t)
	_, err := h.sql.Exec(`
		INSERT INTO outbound_calls (id, name, key, payload, state, completed_at)
		SELECT gen_random_uuid(), 'letter', 'goods-' || n, '{}', 'failed', now() - n * interval '1 minute' FROM generate_series(1, 9) n`)
	require.NoError(t, err)
	calls, err := Failed(t.Context(), h.sql, posts, 2)
	require.NoError(t, err)
	require.Len(t, calls, 2)
	require.Equal(t, "goods-9 goods-8", calls[0].Key+" "+calls[1].Key)
}

func TestRetry_InvalidIDChangesNothing(t *testing.T) {
	t.Parallel()
	h := setup(t)
	for id, want := range map[string]errs.Kind{
		"": errs.Invalid, "post/17": errs.Invalid, "post/call/17": errs.Invalid, "shop/call/" + uuid.NewString(): errs.Invalid,
		"post/call/" + uuid.NewString(): errs.NotFound,
	} {
		require.Equal(t, want, errs.KindOf(Retry(t.Context(), h.sql, posts, id)), id)
	}
	require.True(t, IsCall("post/call/17"))
	require.False(t, IsCall("post/17"))
	none, err := Failed(t.Context(), h.sql, nil, 100)
	require.NoError(t, err)
	require.Empty(t, none)
}
