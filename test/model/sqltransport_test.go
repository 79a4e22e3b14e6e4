//go:build slow

package model_test

import (
	"context"
	"database/sql"
	"flag"
	"log/slog"
	"os"
	"strings"
	"testing"

	"millrace/platform/bus"
	"millrace/platform/bus/admin"
	"millrace/platform/bus/sqltransport"
	"millrace/platform/postgres"
	"millrace/test/conformance"
	"millrace/test/model"
)

func TestMain(m *testing.M) {
	model.Child(overSQL)
	flag.Parse()
	given := map[string]bool{}
	flag.Visit(func(f *flag.Flag) { given[f.Name] = true })
	for name, value := range map[string]string{
		"rapid.checks":     "6",    // of each series
		"rapid.nofailfile": "true", // a failure depends on timing, too, so a file would not reproduce it
		"test.parallel":    "4",    // these programs mostly wait
	} {
		if !given[name] {
			_ = flag.Set(name, value) // the flag exists
		}
	}
	os.Exit(m.Run())
}

func TestBus_RandomProgramsKeepItsGuarantees(t *testing.T) {
	for _, series := range []string{"first", "second", "third", "fourth"} {
		t.Run(series, func(t *testing.T) {
			t.Parallel()
			model.Run(t, overSQL)
		})
	}
}

// world transports messages through the database.
type world struct{ url string }

func overSQL(url string) conformance.World { return world{url} }

func (w world) Migrate(ctx context.Context, topo *bus.Topology) error {
	return admin.Migrate(ctx, w.url, topo)
}

func (w world) Open(ctx context.Context, topo *bus.Topology, hosted []string, o conformance.Options) (conformance.Process, error) {
	return sqltransport.Open(ctx, sqltransport.Config{
		URL: w.url, MaxConnsPerModule: 5, Backoff: o.Backoff, Poll: o.Poll, LeaseTTL: o.LeaseTTL, Logger: slog.New(slog.DiscardHandler),
	}, topo, hosted)
}

func (w world) Repeat(ctx context.Context, module string) error {
	db, err := postgres.Open(ctx, postgres.Config{URL: w.url, MaxConns: 1, Application: "model"})
	if err != nil {
		return err
	}
	defer db.Close() //nolint:errcheck // Exec has returned the result of every write
	return repeat(ctx, db, module)
}

func repeat(ctx context.Context, db *sql.DB, module string) error {
	_, err := db.ExecContext(ctx, strings.ReplaceAll(`
		SELECT MODULE.append_log(array_agg(partition), array_agg(id), array_agg(type), array_agg(key), array_agg(payload), array_agg(metadata::text))
		FROM (SELECT * FROM MODULE.log ORDER BY partition, "offset") AS published HAVING count(*) > 0`, "MODULE", module))
	return err
}
