package outbound

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
	"millrace/platform/correlation"
	"millrace/platform/errs"
)

func TestQueue_CallsAfterCommitAndCompletesOnce(t *testing.T) {
	t.Parallel()
	h := setup(t)
	calls := make(chan Call[letter], 9)
	q := New(h.db, Config[letter, string]{Name: "letter", OnComplete: effect,
		Do: func(ctx context.Context, call Call[letter]) (string, error) {
			_, limited := ctx.Deadline()
			require.True(t, limited)
			require.Equal(t, "talk-goods-1", correlation.From(ctx))
			calls <- call
			return "250 ok", nil
		}})
	h.start(q)

	id := h.record(q, "goods-1")
	call := within(t, calls)
	require.Equal(t, Call[letter]{ID: id, Key: "goods-1", Payload: letter{To: "goods-1"}, Attempt: 1, Correlation: "talk-goods-1"}, call)
	h.waitForState(id, "succeeded")
	require.Equal(t, "1/1/", h.text(`SELECT count(*) || '/' || max(attempts) || '/' || max(error) FROM effects`))
	require.Equal(t, `{"subject":"goods-1"} talk-goods-1`, h.text(`SELECT payload || ' ' || correlation FROM published`))
	require.Empty(t, calls)
}

func TestRecordAfter_DelaysFirstCall(t *testing.T) {
	t.Parallel()
	h := setup(t)
	calls := make(chan Call[letter], 9)
	q := New(h.db, Config[letter, string]{Name: "letter", OnComplete: effect,
		Do: func(_ context.Context, call Call[letter]) (string, error) { calls <- call; return "250 ok", nil }})
	h.start(q)
	require.NoError(t, h.db.InTx(t.Context(), func(tx *bus.Tx) error {
		_, err := q.RecordAfter(t.Context(), tx, time.Hour, "later", letter{To: "later"})
		return err
	}))
	h.waitForState(h.record(q, "now"), "succeeded")
	require.Equal(t, "now", within(t, calls).Key)
	require.Equal(t, "true", h.text(`SELECT next_at - created_at = interval '1 hour' FROM outbound_calls WHERE key = 'later' AND state = 'pending'`))
	_, err := h.sql.Exec(`UPDATE outbound_calls SET next_at = now() WHERE key = 'later'`)
	require.NoError(t, err)
	require.Equal(t, "later", within(t, calls).Key)
}

func TestRecord_RollbackRecordsNoCall(t *testing.T) {
	t.Parallel()
	h := setup(t)
	q := New(h.db, Config[letter, string]{Name: "letter", OnComplete: effect,
		Do: func(context.Context, Call[letter]) (string, error) { return "", nil }})
	refused := errors.New("refused")
	require.ErrorIs(t, h.db.InTx(t.Context(), func(tx *bus.Tx) error {
		_, err := q.Record(t.Context(), tx, "goods-1", letter{})
		require.NoError(t, err)
		return refused
	}), refused)
	require.Equal(t, "0", h.text(`SELECT count(*) FROM outbound_calls`))
	require.Empty(t, q.wake, "no wake-up without a commit")
}

func TestQueue_RetriesWithBackoffAndSameID(t *testing.T) {
	t.Parallel()
	h := setup(t)
	calls := make(chan Call[letter], 9)
	q := New(h.db, Config[letter, string]{Name: "letter", OnComplete: effect, Backoff: []time.Duration{time.Millisecond, 5 * time.Millisecond},
		Do: func(_ context.Context, call Call[letter]) (string, error) {
			calls <- call
			switch call.Attempt {
			case 1:
				return "", errBusy
			case 2:
				return "", errs.New(errs.Resource, "connection refused")
			case 3:
				panic("a nil map")
			}
			return "250 ok", nil
		}})
	h.start(q)
	id := h.record(q, "goods-1")
	h.waitForState(id, "succeeded")
	for attempt := 1; attempt <= 4; attempt++ {
		call := within(t, calls)
		require.Equal(t, id, call.ID)
		require.Equal(t, attempt, call.Attempt)
	}
	require.Equal(t, "1/4/", h.text(`SELECT count(*) || '/' || max(attempts) || '/' || max(error) FROM effects`))
}

func TestBackoff_GrowsAndRepeatsLastStep(t *testing.T) {
	t.Parallel()
	q := New(nil, Config[letter, string]{Name: "letter", OnComplete: effect, Do: func(context.Context, Call[letter]) (string, error) { return "", nil },
		Backoff: []time.Duration{1, 2, 5}})
	var waits []time.Duration
	for attempts := range 6 {
		waits = append(waits, q.backoff(attempts))
	}
	require.Equal(t, []time.Duration{1, 1, 2, 5, 5, 5}, waits)
	require.Greater(t, q.lease, q.config.Timeout, "a lease outlives its call")
}

func TestBackoff_UsesDatabaseClock(t *testing.T) {
	t.Parallel()
	h := setup(t)
	q := New(h.db, Config[letter, string]{Name: "letter", OnComplete: effect, Backoff: []time.Duration{time.Hour},
		Do: func(context.Context, Call[letter]) (string, error) { return "", errBusy }})
	id := h.record(q, "goods-1")
	h.start(q)
	h.waitForState(id, "pending")
	require.Eventually(t, func() bool {
		return h.text(`SELECT attempts FROM outbound_calls`) == "1" && h.text(`SELECT state FROM outbound_calls`) == "pending"
	},
		patient, 5*time.Millisecond)
	require.Equal(t, "true/451 try again later",
		h.text(`SELECT (next_at BETWEEN now() + interval '59 min' AND now() + interval '60 min') || '/' || last_error FROM outbound_calls`))
	require.Empty(t, q.claim(t.Context(), 9))
}

func TestCall_PermanentErrorIsFinalAtOnce(t *testing.T) {
	t.Parallel()
	h := setup(t)
	for _, kind := range errs.Kinds() {
		calls := atomic.Int32{}
		q := New(h.db, Config[letter, string]{Name: kind.String(), OnComplete: effect, MaxAttempts: 3, Backoff: []time.Duration{time.Millisecond},
			Do: func(context.Context, Call[letter]) (string, error) {
				calls.Add(1)
				return "", errs.New(kind, "no")
			}})
		stop := h.start(q)
		id := h.record(q, "goods-1")
		h.waitForState(id, "failed")
		want := int32(3)
		if kind.Reaction() == errs.Dead {
			want = 1
		}
		require.Equal(t, want, calls.Load(), kind)
		require.Equal(t, "no", h.text(`SELECT error FROM effects WHERE id = $1`, id))
		stop()
	}
}

func TestClaim_TwoProcessesNeverHoldSameCall(t *testing.T) {
	t.Parallel()
	h := setup(t)
	const total = 120
	var mu sync.Mutex
	held := map[string]int{}
	call := func(_ context.Context, call Call[letter]) (string, error) {
		mu.Lock()
		held[call.Key]++
		twice := held[call.Key] > 1
		mu.Unlock()
		if twice {
			return "", errs.New(errs.Invalid, "held twice at once")
		}
		defer func() { mu.Lock(); held[call.Key]--; mu.Unlock() }()
		if call.Attempt == 1 {
			return "", errBusy
		}
		return "ok", nil
	}
	out := Config[letter, string]{Name: "letter", Do: call, OnComplete: effect, Backoff: []time.Duration{time.Millisecond}}
	first := New(h.db, out)
	for i := range total {
		h.record(first, "goods-"+time.Duration(i).String())
	}
	_, other := h.open()
	h.start(first)
	h.start(New(other, out))
	require.Eventually(t, func() bool { return h.text(`SELECT count(*) FROM effects`) == "120" }, patient, 10*time.Millisecond)
	require.Equal(t, "120/", h.text(`SELECT count(DISTINCT id) || '/' || max(error) FROM effects`))
	require.Equal(t, "succeeded 2", h.text(`SELECT string_agg(DISTINCT state || ' ' || attempts, ',') FROM outbound_calls`))
}

func TestClaim_IgnoresCallsOfOtherKinds(t *testing.T) {
	t.Parallel()
	h := setup(t)
	out := Config[letter, string]{Name: "letter", OnComplete: effect,
		Do: func(context.Context, Call[letter]) (string, error) { return "", nil }}
	letters := New(h.db, out)
	out.Name = "parcel"
	parcels := New(h.db, out)
	parcel := h.record(parcels, "goods-1")
	require.Empty(t, letters.claim(t.Context(), 9))
	require.Len(t, parcels.claim(t.Context(), 9), 1)
	h.waitForState(parcel, "leased")
}

func TestRecord_RejectsInvalidKeyOrPayload(t *testing.T) {
	t.Parallel()
	h := setup(t)
	q := New(h.db, Config[any, string]{Name: "letter",
		Do:         func(context.Context, Call[any]) (string, error) { return "", nil },
		OnComplete: func(context.Context, *bus.Tx, Call[any], Outcome[string]) error { return nil }})
	require.NoError(t, h.db.InTx(t.Context(), func(tx *bus.Tx) error {
		_, err := q.Record(t.Context(), tx, "", nil)
		require.Equal(t, errs.Invalid, errs.KindOf(err))
		_, err = q.Record(t.Context(), tx, "k", func() {})
		require.Equal(t, errs.Invalid, errs.KindOf(err))
		_, err = q.Record(t.Context(), tx, "k", make([]byte, bus.MaxPayload))
		require.Equal(t, errs.TooLarge, errs.KindOf(err))
		return nil
	}))
	require.Panics(t, func() { New(h.db, Config[any, string]{Name: "letter"}) })
}
