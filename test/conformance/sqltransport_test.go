package conformance_test

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"testing"

	"millrace/platform/bus"
	"millrace/platform/bus/admin"
	"millrace/platform/bus/sqltransport"
	"millrace/platform/postgres"
	"millrace/test/conformance"
)

func TestMain(m *testing.M) {
	conformance.Child(overWhat)
	flag.Parse()
	if !flagged("test.parallel") { // these tests mostly wait
		_ = flag.Set("test.parallel", "8") // the flag exists
	}
	os.Exit(m.Run())
}

func flagged(name string) (found bool) {
	flag.Visit(func(f *flag.Flag) { found = found || f.Name == name })
	return found
}

func TestBus_OverPostgreSQL(t *testing.T) { conformance.Run(t, overSQL) }

func TestCommitOrder_FailsWithoutThePublishLock(t *testing.T) {
	t.Parallel()
	conformance.RedWithoutTheLock(t, overSQL)
}

// world transports messages through the database.
type world struct{ url string }

func overSQL(url string) conformance.World { return world{url} }

func (w world) Migrate(ctx context.Context, topo *bus.Topology) error {
	return admin.Migrate(ctx, w.url, topo)
}

func (w world) Open(ctx context.Context, topo *bus.Topology, hosted []string, o conformance.Options) (conformance.Process, error) {
	return sqltransport.Open(ctx, sqltransport.Config{
		URL: w.url, MaxConnsPerModule: 6, Backoff: o.Backoff, KeepCommands: o.KeepCommands, Poll: o.Poll, LeaseTTL: o.LeaseTTL,
		Logger: slog.New(slog.DiscardHandler),
	}, topo, hosted)
}

func (w world) Repeat(ctx context.Context, module string) error {
	db, err := postgres.Open(ctx, postgres.Config{URL: w.url, MaxConns: 1, Application: "conformance"})
	if err != nil {
		return err
	}
	defer db.Close() //nolint:errcheck // Exec has returned the result of every write
	return repeat(ctx, db, module)
}

func repeat(ctx context.Context, db *sql.DB, module string) error {
	_, err := db.ExecContext(ctx, fmt.Sprintf(`
		SELECT %[1]s.append_log(array_agg(partition), array_agg(id), array_agg(type), array_agg(key), array_agg(payload), array_agg(metadata::text))
		FROM (SELECT * FROM %[1]s.log ORDER BY partition, "offset") AS published`, module))
	return err
}
