package outbound

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
	answer func(call Call[letter]) error
	calls  []string // keys of the calls
	atOnce int
	most   int // maximum of concurrent calls since the last reset
}

func (o *office) call(_ context.Context, call Call[letter]) (string, error) {
	o.mu.Lock()
	o.calls = append(o.calls, call.Key)
	o.atOnce++
	o.most = max(o.most, o.atOnce)
	answer := o.answer
	o.mu.Unlock()
	defer func() { o.mu.Lock(); o.atOnce--; o.mu.Unlock() }()
	return "250 ok", answer(call)
}

func (o *office) answers(answer func(call Call[letter]) error) {
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

func quota(Call[letter]) error {
	return &Delay{Err: errs.New(errs.Resource, "550 5.4.5 of shop@example.com"), Fix: "raise the limit", Longest: 5 * time.Millisecond}
}

func fine(Call[letter]) error { return nil }

func (h *fixture) queue(o *office) *Queue[letter, string] {
	q := New(h.db, Config[letter, string]{
		Name: "letter", Do: o.call, OnComplete: effect, MaxAttempts: 2, DelayFirst: time.Millisecond, Backoff: []time.Duration{time.Millisecond},
		OnWait: func(ctx context.Context, tx *bus.Tx, call Call[letter], attempts int, err error) error {
			_, failed := tx.ExecContext(ctx, `INSERT INTO published VALUES ($1, $2)`, call.Key, fmt.Sprint(attempts))
			return failed
		},
	})
	return q
}

func TestDelay_UsesNoAttemptAndEndsAfterSuccessfulProbe(t *testing.T) {
	t.Parallel()
	h := setup(t)
	o := &office{answer: quota}
	q := h.queue(o)
	require.NoError(t, q.Delayed())
	var ids []uuid.UUID
	for i := range 20 {
		ids = append(ids, h.record(q, fmt.Sprintf("goods-%d", i)))
	}
	h.start(q)
	o.called(t, 20)

	var delayed *Delayed
	require.ErrorAs(t, q.Delayed(), &delayed)
	require.Equal(t, "550 5.4.5 of ***@***; raise the limit", delayed.Public())
	require.WithinDuration(t, time.Now(), delayed.Since(), patient)
	require.Equal(t, errs.Resource, errs.KindOf(delayed))
	waiting, err := Waiting(t.Context(), h.sql, posts)
	require.NoError(t, err)
	require.Len(t, waiting, 1)
	require.Equal(t, "550 5.4.5 of ***@***; raise the limit", waiting[0].Error)
	require.Equal(t, "0 failed", h.text(`SELECT count(*) || ' failed' FROM outbound_calls WHERE state = 'failed'`))

	o.answers(fine)
	for _, id := range ids {
		h.waitForState(id, "succeeded")
	}
	require.NoError(t, q.Delayed())
	require.Equal(t, "1", h.text(`SELECT max(attempts) FROM outbound_calls`), "no attempt was used")
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
	q := h.queue(o)
	for i := range 12 {
		h.record(q, fmt.Sprintf("goods-%d", i))
	}
	h.start(q)
	o.called(t, 1)
	require.Eventually(t, func() bool { // calls that started earlier have ended
		return q.Delayed() != nil && h.text(`SELECT count(*) FROM outbound_calls WHERE state = 'leased'`) == "0"
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
	o := &office{answer: func(call Call[letter]) error {
		if call.Key == "goods-bad" {
			return quota(call)
		}
		return nil
	}}
	q := h.queue(o)
	bad := h.record(q, "goods-bad")
	h.start(q)
	o.called(t, 3)
	for i := range 50 {
		h.waitForState(h.record(q, fmt.Sprintf("goods-%d", i)), "succeeded")
	}
	require.Eventually(t, func() bool { return q.Delayed() == nil }, patient, time.Millisecond, "only this call waits")
	require.Contains(t, "pending 0, leased 1", h.text(`SELECT state || ' ' || attempts FROM outbound_calls WHERE id = $1`, bad))
	o.answers(fine)
	h.expireWaits()
	q.look()
	h.waitForState(bad, "succeeded")
}

// Calls that waited long in a backlog and then met a short failure of our own
// database must not wait as long again.
func TestDelay_OldCallThatWaitsAloneWaitsNoLongerThanLongest(t *testing.T) {
	t.Parallel()
	h := setup(t)
	o := &office{answer: func(call Call[letter]) error {
		if call.Key == "goods-old" {
			return NotMade(errs.New(errs.Resource, "no connection was free"))
		}
		return nil
	}}
	q := h.queue(o)
	old := h.record(q, "goods-old")
	_, err := h.sql.Exec(`UPDATE outbound_calls SET created_at = now() - interval '1 hour'`)
	require.NoError(t, err)
	h.start(q)
	o.called(t, 1)
	h.waitForState(h.record(q, "goods-other"), "succeeded") // a probe, so the next delay is the old call's alone
	require.Eventually(t, func() bool {
		return h.text(`SELECT next_at > now() + interval '3 seconds' FROM outbound_calls WHERE id = $1 AND state = 'pending'`, old) == "true"
	}, patient, time.Millisecond)
	require.Equal(t, "true", h.text(`SELECT next_at <= now() + $2 * interval '1 second' FROM outbound_calls WHERE id = $1`, old, defaultLongest.Seconds()))
}

// expireWaits ends the waits of pending calls, as time would.
func (h *fixture) expireWaits() {
	h.t.Helper()
	_, err := h.sql.Exec(`UPDATE outbound_calls SET next_at = now() WHERE state = 'pending'`)
	require.NoError(h.t, err)
}

func TestDelay_RefusedProbeEndsDelay(t *testing.T) {
	t.Parallel()
	h := setup(t)
	o := &office{answer: quota}
	q := h.queue(o)
	id := h.record(q, "goods-1")
	h.start(q)
	o.called(t, 3)
	o.answers(func(Call[letter]) error { return errs.New(errs.Invalid, "550 no such mailbox") })
	h.waitForState(id, "failed")
	require.Eventually(t, func() bool { return q.Delayed() == nil }, patient, time.Millisecond)
	require.Equal(t, "1", h.text(`SELECT attempts FROM outbound_calls`))
}

func TestDelay_OrdinaryFailureDelaysNoOtherCall(t *testing.T) {
	t.Parallel()
	h := setup(t)
	o := &office{answer: func(Call[letter]) error { return errors.New("450 greylisted") }}
	q := h.queue(o)
	id := h.record(q, "goods-1")
	h.start(q)
	h.waitForState(id, "failed")
	require.NoError(t, q.Delayed())
	require.Equal(t, "2", h.text(`SELECT attempts FROM outbound_calls`))
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

func TestNotMade_DelaysOnlyWhatPassesByItself(t *testing.T) {
	t.Parallel()
	require.NoError(t, NotMade(nil))
	for _, kind := range errs.Kinds() {
		err := errs.New(kind, "no")
		var delay *Delay
		passes := kind == errs.Resource || kind == errs.Contention || kind == errs.Timeout || kind == errs.Shutdown
		require.Equal(t, passes, errors.As(NotMade(err), &delay), kind)
		require.ErrorIs(t, NotMade(err), err)
	}
}
