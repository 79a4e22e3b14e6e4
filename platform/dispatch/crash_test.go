package dispatch

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

// A worker's death is played by runtime.Goexit: nothing after it runs.

func TestACallWhoseProcessDiedIsMadeAgainWithTheSameIDAndSettledOnce(t *testing.T) {
	t.Parallel()
	h := setup(t)
	calls := make(chan Intent[letter], 9)
	d := New(h.db, Outside[letter, string]{Name: "letter", Settle: effect,
		Call: func(_ context.Context, in Intent[letter]) (string, error) {
			calls <- in
			if in.Attempt == 1 {
				runtime.Goexit() // the outside has acted; nothing is recorded
			}
			return "250 ok", nil
		}})
	h.start(d)
	id := h.record(d, "goods-1")
	require.Equal(t, id, within(t, calls).ID)
	h.lapse()
	require.Equal(t, id, within(t, calls).ID)
	h.is(id, "done")
	require.Equal(t, "1/2/", h.text(`SELECT count(*) || '/' || max(attempts) || '/' || max(error) FROM effects`))
}

func TestACallThatAlwaysKillsItsProcessEndsAsAFailure(t *testing.T) {
	t.Parallel()
	h := setup(t)
	calls := atomic.Int32{}
	d := New(h.db, Outside[letter, string]{Name: "letter", Settle: effect, MaxAttempts: 2,
		Call: func(context.Context, Intent[letter]) (string, error) {
			calls.Add(1)
			runtime.Goexit()
			return "", nil
		}})
	d.lease, d.poll = 50*time.Millisecond, 20*time.Millisecond
	h.start(d)
	id := h.record(d, "goods-1")
	h.is(id, "failed")
	require.EqualValues(t, 2, calls.Load())
	require.Equal(t, "2 gave up: the last of 2 calls did not return", h.text(`SELECT attempts || ' ' || error FROM effects`))
}

func TestAWorkerThatWokeUpLateChangesNothing(t *testing.T) {
	t.Parallel()
	h := setup(t)
	late := make(chan struct{})
	began := make(chan struct{}, 9)
	out := Outside[letter, string]{Name: "letter", Settle: effect,
		Call: func(_ context.Context, in Intent[letter]) (string, error) {
			if in.Attempt == 1 {
				began <- struct{}{}
				<-late // stopped, as by SIGSTOP, for longer than its lease
				return "the first worker's", nil
			}
			return "the second worker's", nil
		}}
	frozen := New(h.db, out)
	frozen.lease = 50 * time.Millisecond
	id := h.record(frozen, "goods-1")
	claimed := frozen.claim(t.Context(), 1)
	require.Len(t, claimed, 1)
	woke := make(chan struct{})
	go func() { defer close(woke); frozen.carryOut(context.WithoutCancel(t.Context()), claimed[0]) }()
	within(t, began)

	_, other := h.open()
	second := New(other, out)
	second.poll = 20 * time.Millisecond
	h.start(second)
	h.is(id, "done")
	before := h.text(`SELECT dispatch::text FROM dispatch`)
	close(late)
	within(t, woke)
	require.Equal(t, before, h.text(`SELECT dispatch::text FROM dispatch`))
	require.Equal(t, "1 2", h.text(`SELECT count(*) || ' ' || max(attempts) FROM effects`))
	require.Equal(t, "1", h.text(`SELECT count(*) FROM said`))
}

func TestASettleThatFailsIsRepeatedWithoutAnotherCall(t *testing.T) {
	t.Parallel()
	h := setup(t)
	calls, settles := atomic.Int32{}, atomic.Int32{}
	d := New(h.db, Outside[letter, string]{Name: "letter",
		Call: func(context.Context, Intent[letter]) (string, error) { calls.Add(1); return "250 ok", nil },
		Settle: func(ctx context.Context, tx *bus.Tx, in Intent[letter], out Outcome[string]) error {
			if err := effect(ctx, tx, in, out); err != nil { // rolled back with what follows
				return err
			}
			switch settles.Add(1) {
			case 1, 2, 3, 4:
				return errs.New(errs.Resource, "the database is away")
			case 5:
				return errors.New("something else")
			case 6:
				panic("a nil map")
			}
			return nil
		}})
	h.start(d)
	id := h.record(d, "goods-1")
	h.is(id, "done")
	require.EqualValues(t, 1, calls.Load())
	require.EqualValues(t, 7, settles.Load())
	require.Equal(t, "1 1", h.text(`SELECT (SELECT count(*) FROM effects) || ' ' || (SELECT count(*) FROM said)`))
}

func TestASettleThatKeepsFailingIsGivenBackUncountedAndVisible(t *testing.T) {
	t.Parallel()
	h := setup(t)
	broken := atomic.Bool{}
	broken.Store(true)
	d := New(h.db, Outside[letter, string]{Name: "letter", Workers: 1,
		Call: func(context.Context, Intent[letter]) (string, error) { return "250 ok", nil },
		Settle: func(ctx context.Context, tx *bus.Tx, in Intent[letter], out Outcome[string]) error {
			if in.Key == "goods-1" && broken.Load() {
				return errors.New("no such order of kim@example.com")
			}
			return effect(ctx, tx, in, out)
		}})
	h.start(d)
	first := h.record(d, "goods-1")
	second := h.record(d, "goods-2") // one that fails stops only itself
	h.is(second, "done")
	require.Eventually(t, func() bool { return h.text(`SELECT last_error FROM dispatch WHERE id = $1`, first) != "" }, patient, 5*time.Millisecond)
	require.Equal(t, "settle: no such order of ***@***", h.text(`SELECT last_error FROM dispatch WHERE id = $1`, first))
	broken.Store(false)
	h.is(first, "done")
	require.Equal(t, "1", h.text(`SELECT attempts FROM dispatch WHERE id = $1`, first))
	require.Equal(t, "", h.text(`SELECT last_error FROM dispatch WHERE id = $1`, first))
}

func TestShutdownLetsTheCallInFlightEndAndSettlesIt(t *testing.T) {
	t.Parallel()
	h := setup(t)
	began, end := make(chan struct{}), make(chan struct{})
	// One worker: with another one free, a claim that began before the end may
	// still find what is recorded after it.
	d := New(h.db, Outside[letter, string]{Name: "letter", Workers: 1, Settle: effect,
		Call: func(context.Context, Intent[letter]) (string, error) { close(began); <-end; return "250 ok", nil }})
	id := h.record(d, "goods-1")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	within(t, began)
	cancel()
	waiting := h.record(d, "goods-2") // not begun any more
	close(end)
	require.NoError(t, within(t, ended))
	require.Equal(t, "done", h.text(`SELECT state FROM dispatch WHERE id = $1`, id))
	require.Equal(t, "pending 0", h.text(`SELECT state || ' ' || attempts FROM dispatch WHERE id = $1`, waiting))
}

func TestShutdownGivesBackUncountedWhatDoesNotEndInTime(t *testing.T) {
	t.Parallel()
	h := setup(t)
	began := make(chan struct{})
	d := New(h.db, Outside[letter, string]{Name: "letter", Settle: effect, Timeout: time.Hour,
		Call: func(ctx context.Context, _ Intent[letter]) (string, error) {
			close(began)
			<-ctx.Done()
			return "", ctx.Err()
		}})
	d.drain = 20 * time.Millisecond
	id := h.record(d, "goods-1")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	within(t, began)
	cancel()
	require.NoError(t, within(t, ended))
	h.is(id, "pending") // on a busy machine giving back takes longer than the second that Run waits for it
	require.Equal(t, "pending 0 due", h.text(
		`SELECT state || ' ' || attempts || CASE WHEN next_at <= now() THEN ' due' ELSE '' END FROM dispatch WHERE id = $1`, id))
	require.Equal(t, "0", h.text(`SELECT count(*) FROM effects`))
}

func TestACallIsBoundedByItsTimeout(t *testing.T) {
	t.Parallel()
	h := setup(t)
	d := New(h.db, Outside[letter, string]{Name: "letter", Settle: effect, Timeout: 10 * time.Millisecond, MaxAttempts: 1,
		Call: func(ctx context.Context, _ Intent[letter]) (string, error) { <-ctx.Done(); return "", ctx.Err() }})
	h.start(d)
	id := h.record(d, "goods-1")
	h.is(id, "failed")
	require.Equal(t, context.DeadlineExceeded.Error(), h.text(`SELECT last_error FROM dispatch WHERE id = $1`, id))
}

func TestADatabaseThatGoesAwayUsesUpNoAttempt(t *testing.T) {
	t.Parallel()
	h := setup(t)
	calls, settles := atomic.Int32{}, atomic.Int32{}
	d := New(h.db, Outside[letter, string]{Name: "letter", MaxAttempts: 1,
		Call: func(context.Context, Intent[letter]) (string, error) {
			calls.Add(1)
			_, err := h.sql.Exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`)
			return "250 ok", err
		},
		Settle: func(ctx context.Context, tx *bus.Tx, in Intent[letter], out Outcome[string]) error {
			if err := effect(ctx, tx, in, out); err != nil {
				return err
			}
			if settles.Add(1) <= 3 { // in the middle of the transaction, too
				_, err := tx.ExecContext(ctx, `SELECT pg_terminate_backend(pg_backend_pid())`)
				return err
			}
			return nil
		}})
	id := h.record(d, "goods-1")
	stop := h.start(d)
	h.is(id, "done")
	stop() // else it may have the live connection, and the question below one that was ended
	require.EqualValues(t, 1, calls.Load())
	require.EqualValues(t, 4, settles.Load())
	require.Equal(t, "1 1 1", h.text(`SELECT (SELECT count(*) FROM effects) || ' ' || (SELECT count(*) FROM said) || ' ' || attempts FROM dispatch`))
}
