//go:build slow

package watermill_test

import (
	"context"
	"log/slog"
	"testing"

	"millrace/platform/bus"
	"millrace/platform/bus/admin"
	"millrace/platform/bus/sqltransport"
	"millrace/test/conformance"
	"millrace/test/conformance/watermill"
)

func TestWatermillSuite_PassesOverPostgreSQL(t *testing.T) { watermill.Run(t, overSQL) }

// world transports messages through the database.
type world struct{ url string }

func overSQL(url string) world { return world{url} }

func (w world) Migrate(ctx context.Context, topo *bus.Topology) error {
	return admin.Migrate(ctx, w.url, topo)
}

func (w world) Open(ctx context.Context, topo *bus.Topology, hosted []string, o conformance.Options) (conformance.Process, error) {
	return sqltransport.Open(ctx, sqltransport.Config{
		URL: w.url, MaxConnsPerModule: 6, Backoff: o.Backoff, Poll: o.Poll, Logger: slog.New(slog.DiscardHandler),
	}, topo, hosted)
}
