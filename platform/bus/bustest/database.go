package bustest

import (
	"context"
	"strings"
	"testing"

	"millrace/platform/bus/admin"
	"millrace/platform/postgres/pgtest"
)

// Database returns the URL of a database of the test's own that has the bus's tables for
// these modules, without rows. The test's end drops it.
func Database(t testing.TB, modules ...string) (url string) {
	t.Helper()
	return pgtest.CopyOf(t, "the bus of "+strings.Join(modules, ", "), func(ctx context.Context, url string) error {
		return admin.MigrateModules(ctx, url, modules)
	})
}
