package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/platform/postgres"
	"millrace/test/program"
)

func TestDeadLetters_ListAndRetryFailedCalls(t *testing.T) {
	t.Parallel()
	url := program.Database(t)
	environ := []string{"MILLRACE_DATABASE_URL=" + url, "MILLRACE_DATA_DIR=" + t.TempDir()}
	code, _, complaint := try(t, environ, "migrate")
	require.Zero(t, code, complaint)
	db, err := postgres.Open(t.Context(), postgres.Config{URL: url, MaxConns: 1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	const id = "payment/call/01999999-0000-7000-8000-000000000001"
	_, err = db.ExecContext(t.Context(), `
		INSERT INTO payment.outbound_calls (id, name, key, payload, state, attempts, last_error, completed_at)
		VALUES ('01999999-0000-7000-8000-000000000001', 'refund', 'goods-17', '{}', 'failed', 1, 'unknown_charge', now())`)
	require.NoError(t, err)

	code, out, complaint := try(t, environ, "deadletters")
	require.Zero(t, code, complaint)
	require.Regexp(t, `There are no dead letters.\n\nCalls to the outside that failed for good:\nID +CALL +KEY[^\n]*\n`+id+` +refund +goods-17 +1 .*unknown_charge\n`, out)
	code, out, complaint = try(t, environ, "deadletters", "retry", id)
	require.Zero(t, code, complaint)
	require.Contains(t, out, id+" is tried again by its module")
	var state string
	require.NoError(t, db.QueryRowContext(t.Context(), `SELECT state || ' ' || attempts FROM payment.outbound_calls`).Scan(&state))
	require.Equal(t, "pending 0", state)
	code, _, complaint = try(t, environ, "deadletters", "retry", id)
	require.NotZero(t, code)
	require.Contains(t, complaint, "it is pending now")
	_, out, _ = try(t, environ, "deadletters")
	require.NotContains(t, out, "Calls")
}

func TestDeadLetters_ListAtMostTheLimit(t *testing.T) {
	t.Parallel()
	url := program.Database(t)
	environ := []string{"MILLRACE_DATABASE_URL=" + url, "MILLRACE_DATA_DIR=" + t.TempDir()}
	code, _, complaint := try(t, environ, "migrate")
	require.Zero(t, code, complaint)
	db := opened(t, url)
	execute(t, db, `
		INSERT INTO payment.outbound_calls (id, name, key, payload, state, attempts, last_error, completed_at)
		SELECT gen_random_uuid(), 'refund', 'goods-' || n, '{}', 'failed', 1, 'unknown_charge', now() - n * interval '1 minute' FROM generate_series(11, 19) n`)
	code, out, complaint := try(t, environ, "deadletters", "list", "--limit", "2")
	require.Zero(t, code, complaint)
	require.Regexp(t, `goods-19 [^\n]*\n[^\n]*goods-18 [^\n]*\nThere are more; these are the 2 oldest \(--limit\)`, out)
	require.NotContains(t, out, "goods-17")
	_, out, _ = try(t, environ, "deadletters", "list", "--limit", "9")
	require.Contains(t, out, "goods-11")
	require.NotContains(t, out, "There are more")
	puts(t, db, "delivery", "payment.completed", "goods-31", "dead", "broken")
	puts(t, db, "delivery", "payment.completed", "goods-32", "dead", "broken")
	_, out, _ = try(t, environ, "deadletters", "list", "--limit", "1")
	require.Regexp(t, `There are more; these are the 1 oldest[^$]*There are more`, out)
	require.NotRegexp(t, `goods-31[^$]*goods-32`, out)
	code, _, _ = try(t, environ, "deadletters", "list", "--limit", "0")
	require.Equal(t, exitUsage, code)
}

func TestDeadLetters_ListWaitingCallsWithTheirError(t *testing.T) {
	t.Parallel()
	url := program.Database(t)
	environ := []string{"MILLRACE_DATABASE_URL=" + url, "MILLRACE_DATA_DIR=" + t.TempDir()}
	code, _, errors := try(t, environ, "migrate")
	require.Zero(t, code, errors)
	db, err := postgres.Open(t.Context(), postgres.Config{URL: url, MaxConns: 1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	_, err = db.ExecContext(t.Context(), `
		INSERT INTO notification.outbound_calls (id, name, key, payload, last_error)
		SELECT gen_random_uuid(), 'mail', 'goods-' || n, '{}', CASE WHEN n < 3 THEN 'refused (550 5.4.5); raise the limit' ELSE '' END
		FROM generate_series(1, 5) n`)
	require.NoError(t, err)

	code, out, errors := try(t, environ, "deadletters")
	require.Zero(t, code, errors)
	require.Regexp(t, `There are no dead letters.\n\nCalls to the outside that wait[^\n]*\nMODULE +CALL +WAITING +OLDEST +LAST ERROR\nnotification +mail +5 +\S+ \S+ +refused \(550 5.4.5\); raise the limit\n`, out)
}
