package admin

import (
	"context"
	"database/sql"
	"fmt"

	"millrace/platform/bus"
	"millrace/platform/bus/store"
	"millrace/platform/errs"
	"millrace/platform/postgres"
)

// Migrate creates, or brings up to date, what the bus needs in a database that
// all modules share: see MigrateModules. Without a bridge a sender writes into
// the receiver's queue, so all modules' parts are made, hosted here or not.
func Migrate(ctx context.Context, url string, topo *bus.Topology) error {
	return MigrateModules(ctx, url, topo.Modules())
}

// MigrateModules creates, or brings up to date, the schema bus, and in each
// module's schema its tables: see store/migrations.
// It may run while other processes run, and twice at once. The URL's user must
// own the schemas, or be able to create them. A database of a version before 0.1.0
// is Invalid, and stays as it is; one with objects of others is Forbidden, and
// stays, too: see checkOwners.
func MigrateModules(ctx context.Context, url string, modules []string) (err error) {
	defer errs.Wrap(&err, "migrate the bus")
	db, err := postgres.Open(ctx, postgres.Config{URL: url, Schema: catalogOnly, MaxConns: 2, Application: "millrace migrate"})
	if err != nil {
		return err
	}
	defer db.Close()
	if err := checkOwners(ctx, db, modules); err != nil {
		return err
	}
	if err := refuseUnreleased(ctx, db); err != nil {
		return err
	}
	for _, s := range store.Schemas(modules) {
		if err := postgres.Migrate(ctx, db, s.Name, "bus_version", s.Files); err != nil {
			return err
		}
	}
	return nil
}

// Behind lists the schemas in which MigrateModules would change something. It
// needs no right to change anything, and leaves out schemas that the
// connection's user may not see.
func Behind(ctx context.Context, db *sql.DB, modules []string) (behind []string, err error) {
	if err := refuseUnreleased(ctx, db); err != nil {
		return nil, err
	}
	for _, s := range store.Schemas(modules) {
		older, err := postgres.Behind(ctx, db, s.Name, "bus_version", s.Files)
		if err != nil {
			return nil, err
		}
		if older {
			behind = append(behind, s.Name)
		}
	}
	return behind, nil
}

// refuseUnreleased refuses a database of a development version before 0.1.0: its
// migrations are not those that there are now, and none leads from one to the
// other. bus.processes is a table that only those versions had.
func refuseUnreleased(ctx context.Context, db *sql.DB) error {
	var older bool
	if err := db.QueryRowContext(ctx, `
		SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'bus' AND c.relname = 'processes')`).
		Scan(&older); err != nil {
		return fmt.Errorf("look for the tables of an older version: %w", err)
	}
	if older {
		return errs.New(errs.Invalid, "the database was created before 0.1.0, and cannot be upgraded: start with a new database (nothing in this one was changed)")
	}
	return nil
}
