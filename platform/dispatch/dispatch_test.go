package dispatch

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
	"millrace/platform/errs"
)

func TestDispatcher_CallsAfterCommitAndSettlesOnce(t *testing.T) {
	t.Parallel()
	h := setup(t)
	calls := make(chan Intent[letter], 9)
	d := New(h.db, Outside[letter, string]{Name: "letter", Settle: effect,
		Call: func(ctx context.Context, in Intent[letter]) (string, error) {
			_, limited := ctx.Deadline()
			require.True(t, limited)
			require.Equal(t, "talk-goods-1", bus.CorrelationFrom(ctx))
			calls <- in
			return "250 ok", nil
		}})
	h.start(d)

	id := h.record(d, "goods-1")
	in := within(t, calls)
	require.Equal(t, Intent[letter]{ID: id, Key: "goods-1", Payload: letter{To: "goods-1"}, Attempt: 1, Correlation: "talk-goods-1"}, in)
	h.waitForState(id, "done")
	require.Equal(t, "1/1/", h.text(`SELECT count(*) || '/' || max(attempts) || '/' || max(error) FROM effects`))
	require.Equal(t, `{"subject":"goods-1"} talk-goods-1`, h.text(`SELECT payload || ' ' || correlation FROM published`))
	require.Empty(t, calls)
}

func TestRecordAfter_DelaysFirstCall(t *testing.T) {
	t.Parallel()
	h := setup(t)
	calls := make(chan Intent[letter], 9)
	d := New(h.db, Outside[letter, string]{Name: "letter", Settle: effect,
		Call: func(_ context.Context, in Intent[letter]) (string, error) { calls <- in; return "250 ok", nil }})
	h.start(d)
	require.NoError(t, h.db.InTx(t.Context(), func(tx *bus.Tx) error {
		_, err := d.RecordAfter(t.Context(), tx, time.Hour, "later", letter{To: "later"})
		return err
	}))
	h.waitForState(h.record(d, "now"), "done")
	require.Equal(t, "now", within(t, calls).Key)
	require.Equal(t, "true", h.text(`SELECT next_at - created_at = interval '1 hour' FROM dispatch WHERE key = 'later' AND state = 'pending'`))
	_, err := h.sql.Exec(`UPDATE dispatch SET next_at = now() WHERE key = 'later'`)
	require.NoError(t, err)
	require.Equal(t, "later", within(t, calls).Key)
}

func TestRecord_RollbackRecordsNoIntent(t *testing.T) {
	t.Parallel()
	h := setup(t)
	d := New(h.db, Outside[letter, string]{Name: "letter", Settle: effect,
		Call: func(context.Context, Intent[letter]) (string, error) { return "", nil }})
	refused := errors.New("refused")
	require.ErrorIs(t, h.db.InTx(t.Context(), func(tx *bus.Tx) error {
		_, err := d.Record(t.Context(), tx, "goods-1", letter{})
		require.NoError(t, err)
		return refused
	}), refused)
	require.Equal(t, "0", h.text(`SELECT count(*) FROM dispatch`))
	require.Empty(t, d.wake, "no wake-up without a commit")
}

func TestDispatcher_RetriesWithBackoffAndSameID(t *testing.T) {
	t.Parallel()
	h := setup(t)
	calls := make(chan Intent[letter], 9)
	d := New(h.db, Outside[letter, string]{Name: "letter", Settle: effect, Backoff: []time.Duration{time.Millisecond, 5 * time.Millisecond},
		Call: func(_ context.Context, in Intent[letter]) (string, error) {
			calls <- in
			switch in.Attempt {
			case 1:
				return "", errBusy
			case 2:
				return "", errs.New(errs.Resource, "connection refused")
			case 3:
				panic("a nil map")
			}
			return "250 ok", nil
		}})
	h.start(d)
	id := h.record(d, "goods-1")
	h.waitForState(id, "done")
	for attempt := 1; attempt <= 4; attempt++ {
		in := within(t, calls)
		require.Equal(t, id, in.ID)
		require.Equal(t, attempt, in.Attempt)
	}
	require.Equal(t, "1/4/", h.text(`SELECT count(*) || '/' || max(attempts) || '/' || max(error) FROM effects`))
}

func TestBackoff_GrowsAndRepeatsLastStep(t *testing.T) {
	t.Parallel()
	d := New(nil, Outside[letter, string]{Name: "letter", Settle: effect, Call: func(context.Context, Intent[letter]) (string, error) { return "", nil },
		Backoff: []time.Duration{1, 2, 5}})
	var waits []time.Duration
	for attempts := range 6 {
		waits = append(waits, d.backoff(attempts))
	}
	require.Equal(t, []time.Duration{1, 1, 2, 5, 5, 5}, waits)
	require.Greater(t, d.lease, d.out.Timeout, "a lease outlives its call")
}

func TestBackoff_UsesDatabaseClock(t *testing.T) {
	t.Parallel()
	h := setup(t)
	d := New(h.db, Outside[letter, string]{Name: "letter", Settle: effect, Backoff: []time.Duration{time.Hour},
		Call: func(context.Context, Intent[letter]) (string, error) { return "", errBusy }})
	id := h.record(d, "goods-1")
	h.start(d)
	h.waitForState(id, "pending")
	require.Eventually(t, func() bool {
		return h.text(`SELECT attempts FROM dispatch`) == "1" && h.text(`SELECT state FROM dispatch`) == "pending"
	},
		patient, 5*time.Millisecond)
	require.Equal(t, "true/451 try again later",
		h.text(`SELECT (next_at BETWEEN now() + interval '59 min' AND now() + interval '60 min') || '/' || last_error FROM dispatch`))
	require.Empty(t, d.claim(t.Context(), 9))
}

func TestCall_PermanentErrorIsFinalAtOnce(t *testing.T) {
	t.Parallel()
	h := setup(t)
	for _, kind := range errs.Kinds() {
		calls := atomic.Int32{}
		d := New(h.db, Outside[letter, string]{Name: kind.String(), Settle: effect, MaxAttempts: 3, Backoff: []time.Duration{time.Millisecond},
			Call: func(context.Context, Intent[letter]) (string, error) {
				calls.Add(1)
				return "", errs.New(kind, "no")
			}})
		stop := h.start(d)
		id := h.record(d, "goods-1")
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

func TestClaim_TwoProcessesNeverHoldSameIntent(t *testing.T) {
	t.Parallel()
	h := setup(t)
	const intents = 120
	var mu sync.Mutex
	held := map[string]int{}
	call := func(_ context.Context, in Intent[letter]) (string, error) {
		mu.Lock()
		held[in.Key]++
		twice := held[in.Key] > 1
		mu.Unlock()
		if twice {
			return "", errs.New(errs.Invalid, "held twice at once")
		}
		defer func() { mu.Lock(); held[in.Key]--; mu.Unlock() }()
		if in.Attempt == 1 {
			return "", errBusy
		}
		return "ok", nil
	}
	out := Outside[letter, string]{Name: "letter", Call: call, Settle: effect, Backoff: []time.Duration{time.Millisecond}}
	first := New(h.db, out)
	for i := range intents {
		h.record(first, "goods-"+time.Duration(i).String())
	}
	_, other := h.open()
	h.start(first)
	h.start(New(other, out))
	require.Eventually(t, func() bool { return h.text(`SELECT count(*) FROM effects`) == "120" }, patient, 10*time.Millisecond)
	require.Equal(t, "120/", h.text(`SELECT count(DISTINCT id) || '/' || max(error) FROM effects`))
	require.Equal(t, "done 2", h.text(`SELECT string_agg(DISTINCT state || ' ' || attempts, ',') FROM dispatch`))
}

func TestClaim_IgnoresIntentsOfOtherKinds(t *testing.T) {
	t.Parallel()
	h := setup(t)
	out := Outside[letter, string]{Name: "letter", Settle: effect,
		Call: func(context.Context, Intent[letter]) (string, error) { return "", nil }}
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
	d := New(h.db, Outside[any, string]{Name: "letter",
		Call:   func(context.Context, Intent[any]) (string, error) { return "", nil },
		Settle: func(context.Context, *bus.Tx, Intent[any], Outcome[string]) error { return nil }})
	require.NoError(t, h.db.InTx(t.Context(), func(tx *bus.Tx) error {
		_, err := d.Record(t.Context(), tx, "", nil)
		require.Equal(t, errs.Invalid, errs.KindOf(err))
		_, err = d.Record(t.Context(), tx, "k", func() {})
		require.Equal(t, errs.Invalid, errs.KindOf(err))
		_, err = d.Record(t.Context(), tx, "k", make([]byte, bus.MaxPayload))
		require.Equal(t, errs.TooLarge, errs.KindOf(err))
		return nil
	}))
	require.Panics(t, func() { New(h.db, Outside[any, string]{Name: "letter"}) })
}
