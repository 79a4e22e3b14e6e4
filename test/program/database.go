package program

import (
	"context"
	"testing"

	"millrace/cmd/millrace/app"
	"millrace/config"
	"millrace/platform/postgres/pgtest"
)

// Database returns the URL of a database of the test's own with the tables of all
// modules, without rows, as `millrace migrate` makes it on PostgreSQL's transport. Its
// migration, of two dozen connections, is done once in a test process.
func Database(t testing.TB) (url string) {
	t.Helper()
	return pgtest.CopyOf(t, "the whole program", func(ctx context.Context, url string) error {
		cfg := config.Default()
		cfg.Database.URL = config.Secret(url)
		database, err := app.OpenDatabase(ctx, cfg, nil)
		if err != nil {
			return err
		}
		return app.Migrate(ctx, cfg, database)
	})
}
