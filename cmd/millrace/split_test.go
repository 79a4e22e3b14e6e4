package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/platform/postgres/pgtest"
)

func TestADatabaseWithSomeModulesIsMadeAndLookedAtLikeAnyOther(t *testing.T) {
	t.Parallel()
	environ := []string{
		"MILLRACE_TRANSPORT=kafka", "MILLRACE_KAFKA_BROKERS=127.0.0.1:9", "MILLRACE_DATABASE_URL=" + pgtest.URL(t),
	}
	for _, args := range [][]string{{"deadletters"}, {"trace", "goods-1"}} {
		code, _, complaint := try(t, environ, args...)
		require.Equal(t, exitFailed, code, "%v", args)
		require.Contains(t, complaint, "millrace migrate", "%v on an empty database", args)
	}
	code, _, complaint := try(t, environ, "migrate", "--modules", "payment,delivery")
	require.Zero(t, code, complaint)

	code, out, complaint := try(t, environ, "deadletters")
	require.Zero(t, code, complaint)
	require.Contains(t, out, "There are no dead letters.")
	code, _, complaint = try(t, environ, "trace", "goods-1")
	require.Equal(t, exitFailed, code)
	require.Contains(t, complaint, `no message speaks of "goods-1"`)
	code, _, complaint = try(t, environ, "deadletters", "retry", "delivery/17", "inquiry/17")
	require.Equal(t, exitFailed, code)
	require.Contains(t, complaint, "delivery/17")
	require.NotContains(t, complaint, "does not exist", "a module that is not here is no fault of the database")
}
