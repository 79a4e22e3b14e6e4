package web_test

import (
	"database/sql"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	_ "github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"millrace/platform/errs"
	"millrace/platform/postgres/pgtest"
	"millrace/platform/web"
)

// done is a stored outcome.
type done struct{ N int }

// once runs a request in a transaction of its own.
func once(t *testing.T, db *sql.DB, r web.Request, do func() (done, error)) (done, bool, error) {
	t.Helper()
	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	outcome, repeated, err := web.Once(t.Context(), tx, r, do)
	if err != nil {
		require.NoError(t, tx.Rollback())
		return outcome, repeated, err
	}
	require.NoError(t, tx.Commit())
	return outcome, repeated, nil
}

func request(t *testing.T, operation, principal, key string, body any) web.Request {
	t.Helper()
	r, err := web.NewRequest(operation, principal, key, body)
	require.NoError(t, err)
	return r
}

func withKeys(t *testing.T) *sql.DB {
	t.Helper()
	db, err := sql.Open("postgres", pgtest.URL(t))
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	_, err = db.ExecContext(t.Context(), `CREATE TABLE idempotency_keys (
		key text PRIMARY KEY, request_hash bytea NOT NULL, answer text NOT NULL DEFAULT '', created_at timestamptz NOT NULL DEFAULT now())`)
	require.NoError(t, err)
	return db
}

func TestOnce_CopyGetsFirstOutcome(t *testing.T) {
	t.Parallel()
	db, calls := withKeys(t), 0
	do := func() (done, error) { calls++; return done{calls}, nil }
	for _, repeated := range []bool{false, true, true} {
		got, again, err := once(t, db, request(t, "pay", "member 1", "k", "body"), do)
		require.NoError(t, err)
		require.Equal(t, done{1}, got)
		require.Equal(t, repeated, again)
	}
	require.Equal(t, 1, calls)
	for want := 2; want < 4; want++ { // without a key nothing is a copy
		got, again, err := once(t, db, request(t, "pay", "member 1", "", "body"), do)
		require.NoError(t, err)
		require.Equal(t, done{want}, got)
		require.False(t, again)
	}
}

func TestOnce_KeyWithAnotherBodyIsRefused(t *testing.T) {
	t.Parallel()
	db := withKeys(t)
	do := func() (done, error) { return done{1}, nil }
	_, _, err := once(t, db, request(t, "pay", "member 1", "k", "body"), do)
	require.NoError(t, err)
	_, _, err = once(t, db, request(t, "pay", "member 1", "k", "another"), func() (done, error) { panic("must not be called") })
	var refused *errs.Error
	require.ErrorAs(t, err, &refused)
	require.Equal(t, errs.Invalid, refused.Kind)
	require.Equal(t, "Idempotency-Key", refused.Field)
}

func TestOnce_KeyBelongsToOperationAndPrincipal(t *testing.T) {
	t.Parallel()
	db, calls := withKeys(t), 0
	for _, scope := range [][2]string{{"pay", "member 1"}, {"pay", "member 2"}, {"move 1", "member 1"}, {"move 2", "member 1"}} {
		_, again, err := once(t, db, request(t, scope[0], scope[1], "k", "body"), func() (done, error) { calls++; return done{}, nil })
		require.NoError(t, err)
		require.False(t, again, scope)
	}
	require.Equal(t, 4, calls)
}

func TestOnce_FailedRequestDoesNotUseUpKey(t *testing.T) {
	t.Parallel()
	db := withKeys(t)
	r := request(t, "pay", "member 1", "k", "body")
	failed := errors.New("refused")
	_, _, err := once(t, db, r, func() (done, error) { return done{}, failed })
	require.ErrorIs(t, err, failed)
	got, again, err := once(t, db, r, func() (done, error) { return done{2}, nil })
	require.NoError(t, err)
	require.False(t, again)
	require.Equal(t, done{2}, got)
}

func TestOnce_ConcurrentCopiesRunOnce(t *testing.T) {
	t.Parallel()
	db := withKeys(t)
	var calls atomic.Int32
	var all sync.WaitGroup
	outcomes := make([]done, 8)
	for i := range outcomes {
		r := request(t, "pay", "member 1", "k", "body")
		all.Go(func() {
			tx, err := db.BeginTx(t.Context(), nil)
			if err != nil {
				return
			}
			outcomes[i], _, err = web.Once(t.Context(), tx, r, func() (done, error) { return done{int(calls.Add(1))}, nil })
			if err == nil {
				err = tx.Commit()
			}
			if err != nil {
				outcomes[i] = done{-1}
			}
		})
	}
	all.Wait()
	for _, got := range outcomes {
		require.Equal(t, done{1}, got)
	}
	require.EqualValues(t, 1, calls.Load())
}
