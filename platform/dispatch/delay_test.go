package dispatch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
	"millrace/platform/errs"
)

// office is an outside system that a test can make unavailable.
type office struct {
	mu     sync.Mutex
	answer func(in Intent[letter]) error
	calls  []string // keys of the intents
	atOnce int
	most   int // maximum of concurrent calls since the last reset
}

func (o *office) call(_ context.Context, in Intent[letter]) (string, error) {
	o.mu.Lock()
	o.calls = append(o.calls, in.Key)
	o.atOnce++
	o.most = max(o.most, o.atOnce)
	answer := o.answer
	o.mu.Unlock()
	defer func() { o.mu.Lock(); o.atOnce--; o.mu.Unlock() }()
	return "250 ok", answer(in)
}

func (o *office) answers(answer func(in Intent[letter]) error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.answer, o.calls, o.most = answer, nil, 0
}

// called waits until n calls were made since the last answers.
func (o *office) called(t *testing.T, n int) (keys []string) {
	t.Helper()
	require.Eventually(t, func() bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		keys = slices.Clone(o.calls)
		return len(keys) >= n
	}, patient, time.Millisecond)
	return keys
}

func quota(Intent[letter]) error {
	return &Delay{Err: errs.New(errs.Resource, "550 5.4.5 of shop@example.com"), Fix: "raise the limit", Longest: 5 * time.Millisecond}
}

func fine(Intent[letter]) error { return nil }

func (h *fixture) dispatcher(o *office) *Dispatcher[letter, string] {
	d := New(h.db, Outside[letter, string]{
		Name: "letter", Call: o.call, Settle: effect, MaxAttempts: 2, DelayFirst: time.Millisecond, Backoff: []time.Duration{time.Millisecond},
		OnWait: func(ctx context.Context, tx *bus.Tx, in Intent[letter], attempts int, err error) error {
			_, failed := tx.ExecContext(ctx, `INSERT INTO published VALUES ($1, $2)`, in.Key, fmt.Sprint(attempts))
			return failed
		},
	})
	return d
}

func TestDelay_UsesNoAttemptAndEndsAfterSuccessfulProbe(t *testing.T) {
	t.Parallel()
	h := setup(t)
	o := &office{answer: quota}
	d := h.dispatcher(o)
	require.NoError(t, d.Delayed())
	var ids []uuid.UUID
	for i := range 20 {
		ids = append(ids, h.record(d, fmt.Sprintf("goods-%d", i)))
	}
	h.start(d)
	o.called(t, 20)

	var delayed *Delayed
	require.ErrorAs(t, d.Delayed(), &delayed)
	require.Equal(t, "550 5.4.5 of ***@***; raise the limit", delayed.Public())
	require.WithinDuration(t, time.Now(), delayed.Since(), patient)
	require.Equal(t, errs.Resource, errs.KindOf(delayed))
	waiting, err := Waiting(t.Context(), h.sql, posts)
	require.NoError(t, err)
	require.Len(t, waiting, 1)
	require.Equal(t, "550 5.4.5 of ***@***; raise the limit", waiting[0].Error)
	require.Equal(t, "0 failed", h.text(`SELECT count(*) || ' failed' FROM dispatch WHERE state = 'failed'`))

	o.answers(fine)
	for _, id := range ids {
		h.waitForState(id, "done")
	}
	require.NoError(t, d.Delayed())
	require.Equal(t, "1", h.text(`SELECT max(attempts) FROM dispatch`), "no attempt was used")
	require.Equal(t, "20", h.text(`SELECT count(*) FROM effects WHERE error = '' AND attempts = 1`))
	require.Equal(t, "0", h.text(`SELECT max(correlation) FROM published WHERE payload LIKE 'goods-%'`), "OnWait was called with no attempt")
	waiting, err = Waiting(t.Context(), h.sql, posts)
	require.NoError(t, err)
	require.Empty(t, waiting)
}

func TestDelay_ProbesOneCallAtATimeInTurn(t *testing.T) {
	t.Parallel()
	h := setup(t)
	o := &office{answer: quota}
	d := h.dispatcher(o)
	for i := range 12 {
		h.record(d, fmt.Sprintf("goods-%d", i))
	}
	h.start(d)
	o.called(t, 1)
	require.Eventually(t, func() bool { // calls that started earlier have ended
		return d.Delayed() != nil && h.text(`SELECT count(*) FROM dispatch WHERE state = 'leased'`) == "0"
	}, patient, time.Millisecond)
	o.answers(quota)
	keys := o.called(t, 24)
	slices.Sort(keys)
	require.Len(t, slices.Compact(keys), 12, "each call was probed")
	o.mu.Lock()
	defer o.mu.Unlock()
	require.Equal(t, 1, o.most)
}

func TestDelay_AlwaysDelayedCallDoesNotStopOthers(t *testing.T) {
	t.Parallel()
	h := setup(t)
	o := &office{answer: func(in Intent[letter]) error {
		if in.Key == "goods-bad" {
			return quota(in)
		}
		return nil
	}}
	d := h.dispatcher(o)
	bad := h.record(d, "goods-bad")
	h.start(d)
	o.called(t, 3)
	for i := range 50 {
		h.waitForState(h.record(d, fmt.Sprintf("goods-%d", i)), "done")
	}
	require.Eventually(t, func() bool { return d.Delayed() == nil }, patient, time.Millisecond, "only this call waits")
	require.Contains(t, "pending 0, leased 1", h.text(`SELECT state || ' ' || attempts FROM dispatch WHERE id = $1`, bad))
	o.answers(fine)
	h.expireWaits()
	d.look()
	h.waitForState(bad, "done")
}

// expireWaits ends the waits of pending calls, as time would.
func (h *fixture) expireWaits() {
	h.t.Helper()
	_, err := h.sql.Exec(`UPDATE dispatch SET next_at = now() WHERE state = 'pending'`)
	require.NoError(h.t, err)
}

func TestDelay_RefusedProbeEndsDelay(t *testing.T) {
	t.Parallel()
	h := setup(t)
	o := &office{answer: quota}
	d := h.dispatcher(o)
	id := h.record(d, "goods-1")
	h.start(d)
	o.called(t, 3)
	o.answers(func(Intent[letter]) error { return errs.New(errs.Invalid, "550 no such mailbox") })
	h.waitForState(id, "failed")
	require.Eventually(t, func() bool { return d.Delayed() == nil }, patient, time.Millisecond)
	require.Equal(t, "1", h.text(`SELECT attempts FROM dispatch`))
}

func TestDelay_OrdinaryFailureDelaysNoOtherCall(t *testing.T) {
	t.Parallel()
	h := setup(t)
	o := &office{answer: func(Intent[letter]) error { return errors.New("450 greylisted") }}
	d := h.dispatcher(o)
	id := h.record(d, "goods-1")
	h.start(d)
	h.waitForState(id, "failed")
	require.NoError(t, d.Delayed())
	require.Equal(t, "2", h.text(`SELECT attempts FROM dispatch`))
	require.Equal(t, "1", h.text(`SELECT max(correlation) FROM published WHERE payload = 'goods-1'`))
}

func TestGate_PausesDoubleUpToLongest(t *testing.T) {
	t.Parallel()
	g := gate{first: time.Second, denied: map[uuid.UUID]bool{}, alone: map[uuid.UUID]bool{}}
	id := uuid.New()
	delay := &Delay{Err: errBusy, Longest: 5 * time.Second}
	var pauses []time.Duration
	for range 5 {
		_, wait, _ := g.note(id, delay)
		g.ended(id)
		pauses = append(pauses, wait)
		require.Zero(t, g.room(8), "not before the pause is over")
		g.until = time.Now()
		require.Equal(t, 1, g.room(8))
		g.began([]row{{id: id}})
		require.Zero(t, g.room(8), "one probe at a time")
	}
	require.Equal(t, []time.Duration{1 * time.Second, 2 * time.Second, 4 * time.Second, 5 * time.Second, 5 * time.Second}, pauses)
	g.ended(id) // whatever its result
	g.until = time.Now()
	require.Equal(t, 1, g.room(8))
}
