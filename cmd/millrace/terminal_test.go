package main

import (
	"strings"
	"testing"

	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"millrace/test/program"
)

// TestCommands_PrintNoControlCharacters stores messages with control sequences, line
// breaks and shell syntax in every field that a sender chooses.
func TestCommands_PrintNoControlCharacters(t *testing.T) {
	t.Parallel()
	url := program.Database(t)
	environ := []string{"MILLRACE_DATABASE_URL=" + url, "MILLRACE_DATA_DIR=" + t.TempDir()}
	code, _, complaint := try(t, environ, "migrate")
	require.Zero(t, code, complaint)
	db := opened(t, url)
	const evil = "\x1b]0;x\a\u009b2J\u202e\nID  $(touch x) '; rm"
	quoted := pq.QuoteLiteral(evil)
	text := strings.TrimSuffix(strings.TrimPrefix(quoted, "'"), "'") // puts adds the quotes
	puts(t, db, "delivery", text, text, "awaiting_version", text)
	puts(t, db, "notification", text, text, "dead", text)
	execute(t, db, `INSERT INTO payment.log (partition, "offset", id, type, key, payload, metadata)
		SELECT 5, 1, gen_random_uuid(), `+quoted+`, `+quoted+`, '{}', json_build_object('ce_source', `+quoted+`, 'ce_time', '2026-11-01T00:00:00Z')`)
	execute(t, db, `INSERT INTO payment.outbound_calls (id, name, key, payload, state, attempts, last_error, completed_at)
		VALUES (gen_random_uuid(), `+quoted+`, `+quoted+`, '{}', 'failed', 1, `+quoted+`, now()), (gen_random_uuid(), `+quoted+`, `+quoted+`, '{}', 'pending', 1, `+quoted+`, NULL)`)
	execute(t, db, `INSERT INTO payment.payments (payment_id, order_key, order_kind, user_id, amount, currency, method, provider, status, captured)
		VALUES ('0195a3f0-0000-7000-8000-000000000001', 'goods-1', 'goods', 'kim', 1, 'KRW', 'card', 'simulator', 'completed', 1)`)
	execute(t, db, `INSERT INTO payment.attention (payment_id, reason, detail) VALUES ('0195a3f0-0000-7000-8000-000000000001', 'contradiction', `+quoted+`)`)
	for _, args := range [][]string{
		{"deadletters"}, {"deadletters", "retry", evil}, {"deadletters", "discard", evil, "--reason", evil}, {"deadletters", "forget", evil, evil, "--reason", evil},
		{"trace", evil}, {"payments", "--needs-attention"}, {"payments", "--needs-attention", "--json"}, {"payments", "acknowledge", evil, "--reason", evil},
		{evil}, {"transport", evil}, {"demo", "--orders", evil}, {"config"}, {"help", evil}, {"--config", evil, "config"},
	} {
		environ := append(environ, "MILLRACE_PROXY_MODULES="+evil, "MILLRACE_LOG_LEVEL=info")
		if args[0] == "deadletters" || args[0] == "trace" || args[0] == "payments" {
			environ = environ[:2]
		}
		_, out, complaint := try(t, environ, args...)
		require.NotEmpty(t, out+complaint, "%q", args)
		require.False(t, strings.ContainsAny(out+complaint, "\x1b\a\u009b\u202e"), "%q prints %q and %q", args, out, complaint)
		require.NotContains(t, out+complaint, "\nID  $", "%q", args)
	}
	_, out, _ := try(t, environ, "deadletters")
	require.Contains(t, out, `millrace deadletters forget --reason … delivery $'`)
	require.Contains(t, out, `\x1b]0;x\a\u009b2J\u202e\nID`)
}
