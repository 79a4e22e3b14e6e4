package outbound

import (
	"context"
	"errors"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
	"millrace/platform/errs"
)

// runtime.Goexit stands for the death of a worker: nothing after it runs.

func TestQueue_CrashDuringCallRepeatsItWithSameIDAndCompletesOnce(t *testing.T) {
	t.Parallel()
	h := setup(t)
	calls := make(chan Call[letter], 9)
	q := New(h.db, Config[letter, string]{Name: "letter", OnComplete: effect,
		Do: func(_ context.Context, call Call[letter]) (string, error) {
			calls <- call
			if call.Attempt == 1 {
				runtime.Goexit() // the call succeeded outside, but nothing is recorded
			}
			return "250 ok", nil
		}})
	h.start(q)
	id := h.record(q, "goods-1")
	require.Equal(t, id, within(t, calls).ID)
	h.expireLeases()
	require.Equal(t, id, within(t, calls).ID)
	h.waitForState(id, "succeeded")
	require.Equal(t, "1/2/", h.text(`SELECT count(*) || '/' || max(attempts) || '/' || max(error) FROM effects`))
}

func TestQueue_CallThatAlwaysKillsItsProcessFails(t *testing.T) {
	t.Parallel()
	h := setup(t)
	calls := atomic.Int32{}
	q := New(h.db, Config[letter, string]{Name: "letter", OnComplete: effect, MaxAttempts: 2,
		Do: func(context.Context, Call[letter]) (string, error) {
			calls.Add(1)
			runtime.Goexit()
			return "", nil
		}})
	q.lease, q.poll = 50*time.Millisecond, 20*time.Millisecond
	h.start(q)
	id := h.record(q, "goods-1")
	h.waitForState(id, "failed")
	require.EqualValues(t, 2, calls.Load())
	require.Equal(t, "2 gave up: the last of 2 calls did not return", h.text(`SELECT attempts || ' ' || error FROM effects`))
}

func TestQueue_StalledWorkerIsFencedOff(t *testing.T) {
	t.Parallel()
	h := setup(t)
	late := make(chan struct{})
	began := make(chan struct{}, 9)
	config := Config[letter, string]{Name: "letter", OnComplete: effect, Timeout: 50 * time.Millisecond,
		Do: func(_ context.Context, call Call[letter]) (string, error) {
			if call.Attempt == 1 {
				began <- struct{}{}
				<-late // stopped for longer than its lease, as by SIGSTOP
				return "the first worker's", nil
			}
			return "the second worker's", nil
		}}
	stalled := New(h.db, config)
	stalled.lease = 50 * time.Millisecond
	id := h.record(stalled, "goods-1")
	claimed := stalled.claim(t.Context(), 1)
	require.Len(t, claimed, 1)
	woke := make(chan struct{})
	go func() { defer close(woke); stalled.process(context.WithoutCancel(t.Context()), claimed[0]) }()
	within(t, began)

	_, other := h.open()
	second := New(other, config)
	second.poll = 20 * time.Millisecond
	h.start(second)
	h.waitForState(id, "succeeded")
	before := h.text(`SELECT outbound_calls::text FROM outbound_calls`)
	close(late)
	within(t, woke)
	require.Equal(t, before, h.text(`SELECT outbound_calls::text FROM outbound_calls`))
	require.Equal(t, "1 2", h.text(`SELECT count(*) || ' ' || max(attempts) FROM effects`))
	require.Equal(t, "1", h.text(`SELECT count(*) FROM published`))
}

func TestOnComplete_FailureIsRetriedWithoutAnotherCall(t *testing.T) {
	t.Parallel()
	h := setup(t)
	calls, completions := atomic.Int32{}, atomic.Int32{}
	q := New(h.db, Config[letter, string]{Name: "letter",
		Do: func(context.Context, Call[letter]) (string, error) { calls.Add(1); return "250 ok", nil },
		OnComplete: func(ctx context.Context, tx *bus.Tx, call Call[letter], out Outcome[string]) error {
			if err := effect(ctx, tx, call, out); err != nil { // rolled back by the failure below
				return err
			}
			switch completions.Add(1) {
			case 1, 2, 3, 4:
				return errs.New(errs.Resource, "the database is away")
			case 5:
				return errors.New("something else")
			case 6:
				panic("a nil map")
			}
			return nil
		}})
	h.start(q)
	id := h.record(q, "goods-1")
	h.waitForState(id, "succeeded")
	require.EqualValues(t, 1, calls.Load())
	require.EqualValues(t, 7, completions.Load())
	require.Equal(t, "1 1", h.text(`SELECT (SELECT count(*) FROM effects) || ' ' || (SELECT count(*) FROM published)`))
}

func TestOnComplete_PersistentFailureRequeuesUncountedWithError(t *testing.T) {
	t.Parallel()
	h := setup(t)
	broken := atomic.Bool{}
	broken.Store(true)
	q := New(h.db, Config[letter, string]{Name: "letter", Workers: 1,
		Do: func(context.Context, Call[letter]) (string, error) { return "250 ok", nil },
		OnComplete: func(ctx context.Context, tx *bus.Tx, call Call[letter], out Outcome[string]) error {
			if call.Key == "goods-1" && broken.Load() {
				return errors.New("no such order of kim@example.com")
			}
			return effect(ctx, tx, call, out)
		}})
	h.start(q)
	first := h.record(q, "goods-1")
	second := h.record(q, "goods-2") // a failing call does not affect others
	h.waitForState(second, "succeeded")
	require.Eventually(t, func() bool { return h.text(`SELECT last_error FROM outbound_calls WHERE id = $1`, first) != "" }, patient, 5*time.Millisecond)
	require.Equal(t, "complete: no such order of ***@***", h.text(`SELECT last_error FROM outbound_calls WHERE id = $1`, first))
	broken.Store(false)
	h.waitForState(first, "succeeded")
	require.Equal(t, "1", h.text(`SELECT attempts FROM outbound_calls WHERE id = $1`, first))
	require.Equal(t, "", h.text(`SELECT last_error FROM outbound_calls WHERE id = $1`, first))
}

func TestRun_ShutdownCompletesCallInFlight(t *testing.T) {
	t.Parallel()
	h := setup(t)
	began, end := make(chan struct{}), make(chan struct{})
	// One worker: with a second free worker, a claim that started before the
	// shutdown may still find the call recorded after it.
	q := New(h.db, Config[letter, string]{Name: "letter", Workers: 1, OnComplete: effect,
		Do: func(context.Context, Call[letter]) (string, error) { close(began); <-end; return "250 ok", nil }})
	id := h.record(q, "goods-1")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- q.Run(ctx) }()
	within(t, began)
	cancel()
	waiting := h.record(q, "goods-2") // must not be started
	close(end)
	require.NoError(t, within(t, ended))
	require.Equal(t, "succeeded", h.text(`SELECT state FROM outbound_calls WHERE id = $1`, id))
	require.Equal(t, "pending 0", h.text(`SELECT state || ' ' || attempts FROM outbound_calls WHERE id = $1`, waiting))
}

func TestRun_ShutdownRequeuesUnfinishedCallsUncounted(t *testing.T) {
	t.Parallel()
	h := setup(t)
	began := make(chan struct{})
	q := New(h.db, Config[letter, string]{Name: "letter", OnComplete: effect, Timeout: time.Hour,
		Do: func(ctx context.Context, _ Call[letter]) (string, error) {
			close(began)
			<-ctx.Done()
			return "", ctx.Err()
		}})
	q.drain = 20 * time.Millisecond
	id := h.record(q, "goods-1")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- q.Run(ctx) }()
	within(t, began)
	cancel()
	require.NoError(t, within(t, ended))
	h.waitForState(id, "pending") // on a busy machine it takes longer than the second that Run waits for it
	require.Equal(t, "pending 0 due", h.text(
		`SELECT state || ' ' || attempts || CASE WHEN next_at <= now() THEN ' due' ELSE '' END FROM outbound_calls WHERE id = $1`, id))
	require.Equal(t, "0", h.text(`SELECT count(*) FROM effects`))
}

func TestCall_EndsAfterTimeout(t *testing.T) {
	t.Parallel()
	h := setup(t)
	q := New(h.db, Config[letter, string]{Name: "letter", OnComplete: effect, Timeout: 10 * time.Millisecond, MaxAttempts: 1,
		Do: func(ctx context.Context, _ Call[letter]) (string, error) { <-ctx.Done(); return "", ctx.Err() }})
	h.start(q)
	id := h.record(q, "goods-1")
	h.waitForState(id, "failed")
	require.Equal(t, context.DeadlineExceeded.Error(), h.text(`SELECT last_error FROM outbound_calls WHERE id = $1`, id))
}

func TestQueue_LostDatabaseUsesNoAttempt(t *testing.T) {
	t.Parallel()
	h := setup(t)
	calls, completions := atomic.Int32{}, atomic.Int32{}
	q := New(h.db, Config[letter, string]{Name: "letter", MaxAttempts: 1,
		Do: func(context.Context, Call[letter]) (string, error) {
			calls.Add(1)
			_, err := h.sql.Exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`)
			return "250 ok", err
		},
		OnComplete: func(ctx context.Context, tx *bus.Tx, call Call[letter], out Outcome[string]) error {
			if err := effect(ctx, tx, call, out); err != nil {
				return err
			}
			if completions.Add(1) <= 3 { // also in the middle of a transaction
				_, err := tx.ExecContext(ctx, `SELECT pg_terminate_backend(pg_backend_pid())`)
				return err
			}
			return nil
		}})
	id := h.record(q, "goods-1")
	stop := h.start(q)
	h.waitForState(id, "succeeded")
	stop() // the query below needs the connection that is still open
	require.EqualValues(t, 1, calls.Load())
	require.EqualValues(t, 4, completions.Load())
	require.Equal(t, "1 1 1", h.text(`SELECT (SELECT count(*) FROM effects) || ' ' || (SELECT count(*) FROM published) || ' ' || attempts FROM outbound_calls`))
}
