package main

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"

	"millrace/cmd/millrace/app"
	"millrace/config"
	"millrace/platform/bus"
	"millrace/platform/bus/sqltransport"
	"millrace/platform/errs"
	"millrace/platform/postgres"
)

// place is a database that a command looks into, and the modules that are there
// for the database's user.
type place struct {
	db   *sql.DB
	here []string
}

// places are all that could be reached; at least one.
type places []place

// of is the one with the module that an id begins with, as "delivery/17"; else
// any: what knows no such module says so.
func (all places) of(id string) place {
	module, _, _ := strings.Cut(id, "/")
	for _, p := range all {
		if slices.Contains(p.here, module) {
			return p
		}
	}
	return all[0]
}

// dbs are their databases.
func (all places) dbs() []*sql.DB {
	dbs := make([]*sql.DB, len(all))
	for i, p := range all {
		dbs[i] = p.db
	}
	return dbs
}

// look gives a command the databases of the configuration, as they are, and the
// map of messages. It is the program's one database, or each of database.parts:
// modules that are processes of their own may have a database each, or a role
// each. The owner of the tables sees all, a member of a module's role that
// module. Looking must not migrate what an older version serves.
//
// A part that cannot be looked into is an error of the command, which does what
// it can with the others all the same. A module that is nowhere is told.
func look(ctx context.Context, cfg config.Config, log *slog.Logger, do func(topo *bus.Topology, found places) error) error {
	if err := cfg.Validate(app.Modules()); err != nil {
		return err
	}
	topo, err := app.Topology()
	if err != nil {
		return err
	}
	urls, failures, end := databases(ctx, cfg, log)
	var found places
	var hidden, seen []string
	for _, url := range urls {
		p, unseen, err := visit(ctx, url, topo)
		if err != nil {
			failures = append(failures, understood(err))
			continue
		}
		found, hidden, seen = append(found, p), append(hidden, unseen...), append(seen, p.here...)
	}
	if len(hidden) > 0 {
		log.Warn("this database user may not see all modules; the owner of the tables may", "hidden", hidden)
	}
	missing := slices.DeleteFunc(topo.Modules(), func(module string) bool { return slices.Contains(seen, module) || slices.Contains(hidden, module) })
	if len(found) > 0 {
		if len(missing) > 0 {
			log.Warn("these modules were not looked at: name every module's database in database.parts", "missing", missing)
		}
		failures = append(failures, understood(do(topo, found)))
	}
	for _, p := range found {
		failures = append(failures, p.db.Close())
	}
	return errors.Join(append(failures, end())...)
}

// databases are the URLs to look into, and what is wrong with the others.
func databases(ctx context.Context, cfg config.Config, log *slog.Logger) (urls []string, failures []error, end func() error) {
	end = func() error { return nil }
	if len(cfg.Database.Parts) == 0 {
		database, err := app.OpenDatabase(ctx, cfg, log)
		if err != nil {
			return nil, []error{err}, end
		}
		return []string{database.URL()}, nil, database.Close
	}
	for i, part := range cfg.Database.Parts {
		url := part.Reveal()
		if !strings.Contains(url, "://") {
			held, err := os.ReadFile(url)
			if err != nil {
				var at *fs.PathError
				if errors.As(err, &at) {
					err = at.Err // its path may be no path, and hold a password
				}
				failures = append(failures, errs.InvalidField("database.parts", "item %d is neither postgres://… nor a file that can be read: %s (an embedded server's is there while it serves)", i+1, err))
				continue
			}
			url = strings.TrimSpace(string(held))
		}
		urls = append(urls, url)
	}
	return urls, failures, end
}

func visit(ctx context.Context, url string, topo *bus.Topology) (p place, hidden []string, err error) {
	p.db, err = postgres.Open(ctx, postgres.Config{URL: url, Schema: "bus", MaxConns: 2, Application: "millrace operator"})
	if err != nil {
		return p, nil, err
	}
	if p.here, err = sqltransport.Present(ctx, p.db, topo); err == nil {
		hidden, err = sqltransport.Hidden(ctx, p.db, topo)
	}
	if err != nil {
		_ = p.db.Close() // the first error is the one to tell
	}
	return p, hidden, err
}

// understood says what to do about what the database alone cannot explain.
func understood(err error) error {
	switch {
	case pq.As(err, pqerror.UndefinedTable, pqerror.InvalidSchemaName, pqerror.UndefinedColumn) != nil:
		return errs.New(errs.NotFound, "this database was not made by this version of the program: serve on it once, or run `millrace migrate` (%w)", err)
	case pq.As(err, pqerror.InsufficientPrivilege) != nil:
		return errs.New(errs.Forbidden, "this database user may not do that: use the owner of the tables, or a member of the module's role (%w)", err)
	}
	return err
}
