package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Migrate lists the rights that it did not revoke because processes serve, since a
// module's role could have written a false entry about a live process.
func TestMigrate_ListsAndRevokesExcessRights(t *testing.T) {
	t.Parallel()
	s := migrated(t, nil)
	s.do("payment", `GRANT UPDATE ON payment.log TO `+s.prefix+`delivery;
		INSERT INTO bus.nodes (id, modules, subscriptions, expires_at)
		VALUES ('01900000-0000-7000-8000-000000000001', '{delivery}', '{}', clock_timestamp() + interval '100 seconds')`)
	migrate := func(args ...string) string {
		t.Helper()
		code, printed, complaint := try(t, append(s.as("payment", "owner"), "MILLRACE_DATABASE_ROLE_PREFIX="+s.prefix), append([]string{"migrate"}, args...)...)
		require.Zero(t, code, complaint)
		return printed
	}
	for _, printed := range []string{migrate(), migrate()} {
		require.Contains(t, printed, "NOT REVOKED")
		require.Contains(t, printed, `REVOKE UPDATE ON TABLE payment.log FROM "`+s.prefix+`delivery"`)
		require.Contains(t, printed, "01900000-0000-7000-8000-000000000001, of delivery, since ")
		require.Contains(t, printed, "millrace migrate --revoke")
	}
	require.NotContains(t, migrate("--revoke"), "NOT REVOKED")
	require.NotContains(t, migrate(), "NOT REVOKED", "nothing is left")
}
