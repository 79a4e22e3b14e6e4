package app

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/modules/payment/attention"
	"millrace/platform/postgres"
	"millrace/platform/postgres/pgtest"
)

// shows asks whether a program's metrics contain this line now.
func shows(t *testing.T, a *App, metric string) func() bool {
	return func() bool {
		_, body := get(t, a.URL()+"/metrics")
		return strings.Contains(body, "\n"+metric+"\n")
	}
}

func TestMetrics_ShowUnreachableDatabase(t *testing.T) {
	t.Parallel()
	cfg := local(t)
	cfg.Modules = []string{"inquiry"}
	a, _ := start(t, cfg)
	shows := func(metric string) func() bool { return shows(t, a, metric) }
	require.Eventually(t, shows("millrace_database_up 1"), time.Minute, 50*time.Millisecond)

	server, err := postgres.Open(t.Context(), postgres.Config{URL: pgtest.URL(t), MaxConns: 1}) // another database on the same server
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	name := cfg.Database.URL.Reveal()
	name, _, _ = strings.Cut(name[strings.LastIndex(name, "/test_")+1:], "?")
	do := func(statements ...string) {
		for _, statement := range statements {
			_, err := server.ExecContext(t.Context(), statement)
			require.NoError(t, err, statement)
		}
	}
	do(`ALTER DATABASE `+name+` WITH ALLOW_CONNECTIONS false`, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '`+name+`'`)
	require.Eventually(t, shows("millrace_database_up 0"), time.Minute, 50*time.Millisecond)
	require.Eventually(t, shows(`millrace_dead_letters{module="inquiry"} NaN`), time.Minute, 50*time.Millisecond)
	do(`ALTER DATABASE ` + name + ` WITH ALLOW_CONNECTIONS true`)
	require.Eventually(t, shows("millrace_database_up 1"), time.Minute, 50*time.Millisecond)
	require.Eventually(t, shows(`millrace_dead_letters{module="inquiry"} 0`), time.Minute, 50*time.Millisecond)
}

func TestMetrics_CountPaymentsNeedingAttentionByReason(t *testing.T) {
	t.Parallel()
	cfg := local(t)
	cfg.Modules = []string{"payment"}
	a, _ := start(t, cfg)
	for _, reason := range attention.Reasons {
		require.Eventually(t, shows(t, a, `millrace_payments_needing_attention{reason="`+string(reason)+`"} 0`), time.Minute, 50*time.Millisecond)
	}
	db, err := postgres.Open(t.Context(), postgres.Config{URL: a.DatabaseURL(), Schema: "payment", MaxConns: 1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	_, err = db.ExecContext(t.Context(), `WITH p AS (
		INSERT INTO payments (payment_id, order_key, order_kind, user_id, amount, currency, method, provider, status)
		VALUES (gen_random_uuid(), 'goods-1', 'goods', 'kim', 15000, 'KRW', 'card', 'simulator', 'pending') RETURNING payment_id)
		INSERT INTO attention (payment_id, reason) SELECT payment_id, 'unknown_result' FROM p`)
	require.NoError(t, err)
	require.Eventually(t, shows(t, a, `millrace_payments_needing_attention{reason="unknown_result"} 1`), time.Minute, 50*time.Millisecond)
}
