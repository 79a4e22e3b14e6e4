package main

import (
	"encoding/json"
	"fmt"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/platform/postgres/pgtest"
)

func TestPayments_ListsInPagesAndAcknowledges(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	environ := []string{"MILLRACE_DATABASE_URL=" + url, "MILLRACE_DATA_DIR=" + t.TempDir()}
	code, _, complaint := try(t, environ, "payments", "--needs-attention")
	require.Equal(t, exitFailed, code, "not migrated")
	require.Contains(t, complaint, "migrate")
	code, _, complaint = try(t, environ, "migrate")
	require.Zero(t, code, complaint)
	code, out, complaint := try(t, environ, "payments", "--needs-attention")
	require.Zero(t, code, complaint)
	require.Equal(t, "No payment needs attention.\n", out)
	code, out, _ = try(t, environ, "payments", "--needs-attention", "--json")
	require.Zero(t, code)
	require.JSONEq(t, `{"items":[],"more":0}`, out)

	db := opened(t, url)
	const first = "0195a3f0-0000-7000-8000-000000000001"
	for n := 1; n <= 5; n++ {
		execute(t, db, fmt.Sprintf(`INSERT INTO payment.payments (payment_id, order_key, order_kind, user_id, amount, currency, method, provider, status, captured, refunded)
			VALUES ('0195a3f0-0000-7000-8000-00000000000%d', 'goods-%[1]d', 'goods', 'kim', 15000, 'KRW', 'card', 'simulator', 'completed', 15000, 5000)`, n))
		execute(t, db, fmt.Sprintf(`INSERT INTO payment.attention (payment_id, reason, detail) VALUES ('0195a3f0-0000-7000-8000-00000000000%d', 'partial_cancel', '5000 of 15000 KRW went back')`, n))
	}
	execute(t, db, `INSERT INTO payment.attention (payment_id, reason) VALUES ('`+first+`', 'contradiction')`)

	code, out, complaint = try(t, environ, "payments", "--needs-attention", "--limit", "2")
	require.Zero(t, code, complaint)
	require.Regexp(t, `ID +REASON +SINCE +ORDER +PAYMENT +STATUS +AMOUNT +CAPTURED +REFUNDED +DETAIL\n1 +partial_cancel +\S+ \S+ +goods-1 +`+first+` +completed +15000 KRW +15000 +5000 +5000 of 15000 KRW went back\n2 `, out)
	require.Contains(t, out, "partial_cancel: the order goes on")
	require.NotContains(t, out, "contradiction:")
	require.Contains(t, out, "There are 4 more: millrace payments --needs-attention --after 2\n")
	code, out, _ = try(t, environ, "payments", "--needs-attention", "--json", "--reason", "partial_cancel", "--after", "3")
	require.Zero(t, code)
	var list attentionList
	require.NoError(t, json.Unmarshal([]byte(out), &list))
	require.Len(t, list.Items, 2)
	require.Equal(t, "goods-4", list.Items[0].OrderKey)
	require.Equal(t, int64(5000), list.Items[0].Refunded)
	require.NotEmpty(t, list.Items[0].NextStep)

	for _, wrong := range [][]string{{"payments"}, {"payments", "--needs-attention", "--limit", "0"}, {"payments", "--needs-attention", "--reason", "x"},
		{"payments", "acknowledge", "1"}, {"payments", "acknowledge", "goods-1", "--reason", "x"}, {"payments", "acknowledge", "1", "--reason", ""},
		{"payments", "acknowledge", "1", "--reason", "   "}, {"payments", "acknowledge", "1", "--reason", "\xff\xfe"}, {"payments", "acknowledge", "1", "--reason", "a\u202eb\x07"},
		{"payments", "acknowledge", "1", "--reason", "\u200b"}, {"payments", "acknowledge", "1", "--reason", "x", "--by", "a\nb"}} {
		code, _, complaint = try(t, environ, wrong...)
		require.Equal(t, exitUsage, code, "%v: %s", wrong, complaint)
	}
	code, out, complaint = try(t, environ, "payments", "acknowledge", first, "--reason", "phoned the customer", "--by", "kim")
	require.Zero(t, code, complaint)
	require.Equal(t, first+": 2 items acknowledged.\n", out)
	code, _, complaint = try(t, environ, "payments", "acknowledge", "1", "--reason", "again")
	require.Equal(t, exitFailed, code)
	require.Contains(t, complaint, "it was acknowledged by kim")
	code, _, complaint = try(t, environ, "payments", "acknowledge", "99", "--reason", "again")
	require.Equal(t, exitFailed, code)
	require.Contains(t, complaint, "nothing of that number")
	var by, why string
	require.NoError(t, db.QueryRowContext(t.Context(), `SELECT ended_by, ended_why FROM payment.attention WHERE attention_id = 1 AND ended_at IS NOT NULL`).Scan(&by, &why))
	require.Equal(t, []string{"kim", "phoned the customer"}, []string{by, why})
	code, out, _ = try(t, environ, "payments", "--needs-attention")
	require.Zero(t, code)
	require.NotContains(t, out, "goods-1 ")

	for _, args := range [][]string{{"payments", "--needs-attention"}, {"payments", "--needs-attention", "--json"}} {
		var complained record
		require.Equal(t, exitFailed, run(t.Context(), args, environ, &brokenWriter{5, syscall.ENOSPC}, &complained), "%v", args)
		require.Contains(t, complained.String(), "no space left")
	}
}
