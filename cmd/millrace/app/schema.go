package app

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"

	"millrace/config"
	"millrace/platform/bus"
	"millrace/platform/bus/sqltransport"
	"millrace/platform/dispatch"
	"millrace/platform/errs"
	"millrace/platform/postgres"
)

// The tables that note how far a schema's migrations are, beside the bus's own.
const (
	moduleVersion   = "module_version"
	dispatchVersion = "dispatch_version"
)

// Migrate brings the database up to date: the bus, and every module's tables,
// hosted here or not, since modules that share a database write into each
// other's queues. With Kafka between them, a process has the tables of its own
// modules only. With a database.role_prefix the modules' roles are made, and
// have their rights exactly.
//
// Many processes may do it at once. The user must own the tables, or be able to
// make them: else the error is Forbidden, and nothing has changed. Whoever does it
// (a superuser, a member of the owner), what is new belongs to their owner.
func Migrate(ctx context.Context, cfg config.Config, database *Database) error {
	topology, err := Topology()
	if err != nil {
		return err
	}
	db, err := openForMigration(ctx, database)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }() // nothing is left to do on it
	if user, owner, err := owns(ctx, db); err != nil {
		return err
	} else if !owner {
		return errs.New(errs.Forbidden, "user %q does not own the tables of this database and may not change them: do it as their owner (another MILLRACE_DATABASE_URL)", user)
	}
	all := here(cfg)
	owned, err := asOwner(ctx, db, database.url)
	if err != nil {
		return err
	}
	if err := sqltransport.MigrateModules(ctx, owned, namesOf(all)); err != nil {
		return err
	}
	if owned != database.url {
		if db, err = openForMigration(ctx, &Database{url: owned}); err != nil {
			return err
		}
		defer func() { _ = db.Close() }() // nothing is left to do on it
	}
	for _, m := range all {
		if err := postgres.Migrate(ctx, db, m.Name(), moduleVersion, m.Migrations()); err != nil {
			return err
		}
		if err := postgres.Migrate(ctx, db, m.Name(), dispatchVersion, dispatch.Migrations()); err != nil {
			return err
		}
	}
	if cfg.Database.RolePrefix == "" {
		return nil
	}
	kept, err := roles(cfg).Grant(ctx, database.url, topology, namesOf(all))
	if len(kept) > 0 {
		slog.Warn("rights that this version does not need are left, since processes live: migrate again when those of the version before have ended", "rights", kept)
	}
	return err
}

// prepare makes sure that the database is that of this version, and that the
// hosted modules may do in it what they must. The owner of the tables migrates;
// anybody else needs no right to change a table, and is refused if one is behind.
func prepare(ctx context.Context, cfg config.Config, database *Database, topology *bus.Topology, hosted []string) error {
	db, err := openForMigration(ctx, database)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }() // nothing is left to do on it
	user, owner, err := owns(ctx, db)
	if err != nil {
		return err
	}
	if owner {
		if err := Migrate(ctx, cfg, database); err != nil {
			return err
		}
	} else {
		behind, err := outdated(ctx, db, cfg)
		if err != nil {
			return err
		}
		if len(behind) > 0 {
			return errs.New(errs.Forbidden, "the database is not up to date (%s), and user %q does not own its tables: run `millrace migrate` as their owner", strings.Join(behind, ", "), user)
		}
	}
	if err := roles(cfg).Suffices(ctx, db, topology, namesOf(here(cfg)), hosted); err != nil || cfg.Transport != config.OnKafka {
		return err
	}
	// A topic that was made anew is forwarded again for all modules in a database,
	// by whoever sees it first.
	hidden, err := sqltransport.Hidden(ctx, db, topology)
	if err == nil && len(hidden) > 0 {
		err = errs.New(errs.Forbidden, "user %q may not see all modules in this database (%s): on Kafka, give the process a database of its own, or a user who may", user, strings.Join(hidden, ", "))
	}
	return err
}

// outdated lists the schemas that Migrate would change, as far as one may see.
func outdated(ctx context.Context, db *sql.DB, cfg config.Config) ([]string, error) {
	all := here(cfg)
	behind, err := sqltransport.Behind(ctx, db, namesOf(all))
	if err != nil {
		return nil, err
	}
	for _, m := range all {
		own, err := postgres.Behind(ctx, db, m.Name(), moduleVersion, m.Migrations())
		if err != nil {
			return nil, err
		}
		calls, err := postgres.Behind(ctx, db, m.Name(), dispatchVersion, dispatch.Migrations())
		if err != nil {
			return nil, err
		}
		if (own || calls) && !slices.Contains(behind, m.Name()) {
			behind = append(behind, m.Name())
		}
	}
	return behind, nil
}

func openForMigration(ctx context.Context, database *Database) (*sql.DB, error) {
	return postgres.Open(ctx, postgres.Config{URL: database.url, MaxConns: 2, Application: "millrace migrate"})
}

// owns tells who the user is, and whether the tables are theirs to change: those
// that there are, or, if there are none, those to be made.
func owns(ctx context.Context, db *sql.DB) (user string, owner bool, err error) {
	err = db.QueryRowContext(ctx, `
		SELECT current_user, coalesce((SELECT pg_has_role(nspowner, 'USAGE') FROM pg_namespace WHERE nspname = 'bus'),
			has_database_privilege(current_database(), 'CREATE'))`).Scan(&user, &owner)
	if err != nil {
		return "", false, fmt.Errorf("ask who owns the tables: %w", err)
	}
	return user, owner, nil
}

// asOwner is the URL with which one is the owner of the tables: the same, if the
// user is, or if there are none yet.
func asOwner(ctx context.Context, db *sql.DB, address string) (string, error) {
	var other sql.NullString
	err := db.QueryRowContext(ctx, `SELECT max(rolname) FROM pg_namespace n JOIN pg_roles r ON r.oid = nspowner WHERE nspname = 'bus' AND rolname <> current_user`).Scan(&other)
	if err != nil {
		return "", fmt.Errorf("ask who owns the tables: %w", err)
	}
	if !other.Valid {
		return address, nil
	}
	u, err := url.Parse(address)
	if err != nil {
		return "", errs.InvalidField("database.url", "is no URL") // the parser's own words may quote the password
	}
	query := u.Query()
	query.Set("role", other.String)
	u.RawQuery = query.Encode()
	return u.String(), nil
}

// here lists the modules whose tables are in this process's database.
func here(cfg config.Config) []module {
	all := declared(cfg)
	if cfg.Transport == config.OnKafka && len(cfg.Modules) > 0 {
		all = slices.DeleteFunc(all, func(m module) bool { return !slices.Contains(cfg.Modules, m.Name()) })
	}
	return all
}

func namesOf(all []module) []string {
	names := make([]string, len(all))
	for i, m := range all {
		names[i] = m.Name()
	}
	return names
}

func roles(cfg config.Config) sqltransport.Roles {
	return sqltransport.Roles{Prefix: cfg.Database.RolePrefix, ReadOnly: []string{moduleVersion, dispatchVersion}}
}
