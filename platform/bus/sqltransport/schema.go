package sqltransport

import (
	"context"
	"embed"
	"io/fs"

	"millrace/platform/bus"
	"millrace/platform/errs"
	"millrace/platform/postgres"
)

//go:embed migrations
var migrations embed.FS

// Migrate creates, or brings up to date, what the bus needs in a database that
// all modules share: see MigrateModules. Without a carrier a sender writes into
// the receiver's queue, so all modules' parts are made, hosted here or not.
func Migrate(ctx context.Context, url string, topo *bus.Topology) error {
	return MigrateModules(ctx, url, topo.Modules())
}

// MigrateModules creates, or brings up to date, the schema bus, and in each
// module's schema its log, outbox, queue, inbound, inbox, positions and aside.
// It may run while other processes run, and twice at once.
func MigrateModules(ctx context.Context, url string, modules []string) (err error) {
	defer errs.Wrap(&err, "migrate the bus")
	db, err := postgres.Open(ctx, postgres.Config{URL: url, MaxConns: 2, Application: "millrace migrate"})
	if err != nil {
		return err
	}
	defer db.Close()
	shared, err := fs.Sub(migrations, "migrations/bus")
	if err != nil {
		return err
	}
	if err := postgres.Migrate(ctx, db, "bus", "bus_version", shared); err != nil {
		return err
	}
	module, err := fs.Sub(migrations, "migrations/module")
	if err != nil {
		return err
	}
	for _, name := range modules {
		if err := postgres.Migrate(ctx, db, name, "bus_version", module); err != nil {
			return err
		}
	}
	return nil
}
