package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/platform/postgres"
	"millrace/platform/postgres/pgtest"
)

func TestACallThatFailedForGoodIsListedAndHandedBackByAnOperator(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	environ := []string{"MILLRACE_DATABASE_URL=" + url, "MILLRACE_DATA_DIR=" + t.TempDir()}
	code, _, told := try(t, environ, "migrate")
	require.Zero(t, code, told)
	db, err := postgres.Open(t.Context(), postgres.Config{URL: url, MaxConns: 1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	const id = "payment/call/01999999-0000-7000-8000-000000000001"
	_, err = db.ExecContext(t.Context(), `
		INSERT INTO payment.dispatch (id, name, key, payload, state, attempts, last_error, finished_at)
		VALUES ('01999999-0000-7000-8000-000000000001', 'refund', 'goods-17', '{}', 'failed', 1, 'unknown_charge', now())`)
	require.NoError(t, err)

	code, out, told := try(t, environ, "deadletters")
	require.Zero(t, code, told)
	require.Regexp(t, `There are no dead letters.\n\nCalls to the outside that failed for good:\nID +CALL +KEY[^\n]*\n`+id+` +refund +goods-17 +1 .*unknown_charge\n`, out)
	code, out, told = try(t, environ, "deadletters", "retry", id)
	require.Zero(t, code, told)
	require.Contains(t, out, id+" is tried again by its module")
	var state string
	require.NoError(t, db.QueryRowContext(t.Context(), `SELECT state || ' ' || attempts FROM payment.dispatch`).Scan(&state))
	require.Equal(t, "pending 0", state)
	code, _, told = try(t, environ, "deadletters", "retry", id)
	require.NotZero(t, code)
	require.Contains(t, told, "it is pending now")
	_, out, _ = try(t, environ, "deadletters")
	require.NotContains(t, out, "Calls")
}
