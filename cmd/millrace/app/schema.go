package app

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"millrace/config"
	"millrace/platform/bus"
	"millrace/platform/bus/admin"
	"millrace/platform/bus/store"
	"millrace/platform/errs"
	"millrace/platform/module"
	"millrace/platform/outbound"
	"millrace/platform/postgres"
	"millrace/platform/postgres/pgurl"
)

// The goose version tables of the schemas, beside the bus's own.
const (
	moduleVersion   = "module_version"
	outboundVersion = "outbound_version"
)

// Migrate brings the database up to date: the bus's and every module's tables,
// hosted here or not, because modules that share a database write into each
// other's queues. With Kafka, a process's database has the tables of its own
// modules only. With database.role_prefix, Migrate also creates the modules'
// roles and gives them exactly their rights.
//
// Several processes may migrate at once. The user must own the tables, or have
// the right to create them: otherwise the error is Forbidden, and nothing has
// changed. If a superuser or a member of the owner's role migrates, new tables
// still belong to the owner.
//
// While other processes serve, Migrate does not revoke excess rights but logs
// them: see MigrateAndRevoke.
func Migrate(ctx context.Context, cfg config.Config, database *Database) error {
	left, err := MigrateAndRevoke(ctx, cfg, database, false)
	if len(left.Rights) > 0 {
		slog.Warn("rights that this version does not need are left, since processes live: migrate again when those of the version before have ended, or with --revoke",
			"rights", left.Rights, "processes", left.Processes)
	}
	return err
}

// MigrateAndRevoke is Migrate, and returns the excess rights that it did not revoke
// because processes serve. With revoke, it revokes them in any case.
func MigrateAndRevoke(ctx context.Context, cfg config.Config, database *Database, revoke bool) (left admin.Left, err error) {
	topology, err := Topology()
	if err != nil {
		return left, err
	}
	if cfg.Database.RolePrefix != "" { // before anything runs in the modules' schemas
		if err := roles(cfg).Disarm(ctx, database.url, topology, namesOf(here(cfg))); err != nil {
			return left, err
		}
	}
	all, err := migrateTables(ctx, cfg, database)
	if err != nil || cfg.Database.RolePrefix == "" {
		return left, err
	}
	if err := admin.RegisterTopics(ctx, database.url, topology, cfg.Transport); err != nil {
		return left, err
	}
	return roles(cfg).Grant(ctx, database.url, topology, namesOf(all), revoke)
}

// migrateTables brings the tables up to date, and returns the modules that have tables here.
func migrateTables(ctx context.Context, cfg config.Config, database *Database) (all []module.Module, err error) {
	db, err := openForMigration(ctx, database)
	if err != nil {
		return nil, err
	}
	defer func() { _ = db.Close() }() // all work on it is done
	if user, owner, err := owns(ctx, db); err != nil {
		return nil, err
	} else if !owner {
		return nil, errs.New(errs.Forbidden, "user %q does not own the tables of this database and may not change them: do it as their owner (another MILLRACE_DATABASE_URL)", user)
	}
	all = here(cfg)
	owned, err := asOwner(ctx, db, database.url)
	if err != nil {
		return nil, err
	}
	if err := admin.MigrateModules(ctx, owned, namesOf(all)); err != nil {
		return nil, err
	}
	if owned != database.url {
		if db, err = openForMigration(ctx, &Database{url: owned}); err != nil {
			return nil, err
		}
		defer func() { _ = db.Close() }() // all work on it is done
	}
	for _, m := range all {
		if err := postgres.Migrate(ctx, db, m.Name(), moduleVersion, m.Migrations()); err != nil {
			return nil, err
		}
		if err := postgres.Migrate(ctx, db, m.Name(), outboundVersion, outbound.Migrations()); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// prepare checks that the database has this version's schema, and that the hosted
// modules have the rights they need. If the user owns the tables, it migrates.
// Otherwise it changes no table, and refuses schemas that are behind.
func prepare(ctx context.Context, cfg config.Config, database *Database, topology *bus.Topology, hosted []string) error {
	db, err := openForMigration(ctx, database)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }() // all work on it is done
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
	// When a topic was deleted and created again, the first bridge to notice it
	// forwards the messages of all modules in a database again.
	hidden, err := store.Hidden(ctx, db, topology)
	if err == nil && len(hidden) > 0 {
		err = errs.New(errs.Forbidden, "user %q may not see all modules in this database (%s): on Kafka, give the process a database of its own, or a user who may", user, strings.Join(hidden, ", "))
	}
	return err
}

// outdated lists the schemas that Migrate would change, as far as the user may read them.
func outdated(ctx context.Context, db *sql.DB, cfg config.Config) ([]string, error) {
	all := here(cfg)
	behind, err := admin.Behind(ctx, db, namesOf(all))
	if err != nil {
		return nil, err
	}
	for _, m := range all {
		own, err := postgres.Behind(ctx, db, m.Name(), moduleVersion, m.Migrations())
		if err != nil {
			return nil, err
		}
		calls, err := postgres.Behind(ctx, db, m.Name(), outboundVersion, outbound.Migrations())
		if err != nil {
			return nil, err
		}
		if (own || calls) && !slices.Contains(behind, m.Name()) {
			behind = append(behind, m.Name())
		}
	}
	return behind, nil
}

// openForMigration opens connections that find only the server's own functions.
func openForMigration(ctx context.Context, database *Database) (*sql.DB, error) {
	db, err := postgres.Open(ctx, postgres.Config{URL: database.url, Schema: "pg_catalog", MaxConns: 2, Application: "millrace migrate"})
	if err != nil {
		return nil, DatabaseError(err)
	}
	if err := postgres.Writable(ctx, db); err != nil {
		_ = db.Close() // report the first error
		return nil, err
	}
	return db, nil
}

// DatabaseError adds the setting's name to an error about a database's URL.
func DatabaseError(err error) error {
	var e *errs.Error
	if errors.As(err, &e) && e.Field == "URL" {
		return errs.InvalidField("database.url", "%s", e.Msg)
	}
	return err
}

// owns returns the user, and whether the user owns the tables, or may create them
// if there are none.
func owns(ctx context.Context, db *sql.DB) (user string, owner bool, err error) {
	err = db.QueryRowContext(ctx, `
		SELECT current_user, coalesce((SELECT pg_has_role(nspowner, 'USAGE') FROM pg_namespace WHERE nspname = 'bus'),
			has_database_privilege(current_database(), 'CREATE'))`).Scan(&user, &owner)
	if err != nil {
		return "", false, fmt.Errorf("ask who owns the tables: %w", err)
	}
	return user, owner, nil
}

// asOwner returns a URL that connects as the owner of the tables: address itself if
// the user is the owner, or if there are no tables yet.
func asOwner(ctx context.Context, db *sql.DB, address string) (string, error) {
	var other sql.NullString
	err := db.QueryRowContext(ctx, `SELECT max(rolname) FROM pg_namespace n JOIN pg_roles r ON r.oid = nspowner WHERE nspname = 'bus' AND rolname <> current_user`).Scan(&other)
	if err != nil {
		return "", fmt.Errorf("ask who owns the tables: %w", err)
	}
	if !other.Valid {
		return address, nil
	}
	u, err := pgurl.Parse(address)
	if err != nil {
		return "", errs.InvalidField("database.url", "%s", err)
	}
	return u.With("role", other.String).String(), nil
}

// here lists the modules whose tables are in this process's database.
func here(cfg config.Config) []module.Module {
	all := declared(cfg)
	if cfg.Transport == config.OnKafka && len(cfg.Modules) > 0 {
		all = slices.DeleteFunc(all, func(m module.Module) bool { return !slices.Contains(cfg.Modules, m.Name()) })
	}
	return all
}

func namesOf(all []module.Module) []string {
	names := make([]string, len(all))
	for i, m := range all {
		names[i] = m.Name()
	}
	return names
}

func roles(cfg config.Config) admin.Roles {
	return admin.Roles{Prefix: cfg.Database.RolePrefix, ReadOnly: []string{moduleVersion, outboundVersion}}
}
