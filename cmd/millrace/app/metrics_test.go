package app

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/platform/postgres"
	"millrace/platform/postgres/pgtest"
)

// told asks whether a program's metrics say this now.
func told(t *testing.T, a *App, metric string) func() bool {
	return func() bool {
		_, body := get(t, a.URL()+"/metrics")
		return strings.Contains(body, "\n"+metric+"\n")
	}
}

func TestWhileTheDatabaseIsAwayTheMetricsSaySoAndCountNothing(t *testing.T) {
	t.Parallel()
	cfg := local(t)
	cfg.Modules = []string{"inquiry"}
	a, _ := start(t, cfg)
	told := func(metric string) func() bool { return told(t, a, metric) }
	require.Eventually(t, told("millrace_database_up 1"), time.Minute, 50*time.Millisecond)

	server, err := postgres.Open(t.Context(), postgres.Config{URL: pgtest.URL(t), MaxConns: 1}) // another database of it
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
	require.Eventually(t, told("millrace_database_up 0"), time.Minute, 50*time.Millisecond)
	require.Eventually(t, told(`millrace_dead_letters{module="inquiry"} NaN`), time.Minute, 50*time.Millisecond)
	do(`ALTER DATABASE ` + name + ` WITH ALLOW_CONNECTIONS true`)
	require.Eventually(t, told("millrace_database_up 1"), time.Minute, 50*time.Millisecond)
	require.Eventually(t, told(`millrace_dead_letters{module="inquiry"} 0`), time.Minute, 50*time.Millisecond)
}
