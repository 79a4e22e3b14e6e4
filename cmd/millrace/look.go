package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"

	"millrace/cmd/millrace/app"
	"millrace/config"
	"millrace/platform/bus"
	"millrace/platform/bus/store"
	"millrace/platform/errs"
	"millrace/platform/postgres"
	"millrace/platform/postgres/pgurl"
)

// place is a database that a command reads, and the modules in it that the
// database's user may read.
type place struct {
	db   *sql.DB
	here []string
	name string // the item of database.parts, without its password; "" without parts
	same string // identifies the database: two places may be two users of one database
}

// failed adds the place's name and the next step to an error.
func (p place) failed(err error) error {
	if err = understood(err); err == nil || p.name == "" {
		return err
	}
	return fmt.Errorf("%s: %w", p.name, err)
}

// look calls do with the configured databases and the topology. The databases are
// the program's only one, or each of database.parts: modules that run as separate
// processes may each have a database or a role. The owner of the tables can read
// all modules; a member of a module's role only that module. look never migrates,
// because an older version may serve.
//
// If a part cannot be read, do still gets the others, and the error is returned
// afterwards. look logs a warning about a module that is in no database, and about
// one that is in two: one of them is left over from a move.
func look(ctx context.Context, cfg config.Config, log *slog.Logger, do func(topo *bus.Topology, found places) error) error {
	if err := cfg.Validate(app.Modules()); err != nil {
		return err
	}
	topo, err := app.Topology()
	if err != nil {
		return err
	}
	parts, failures, end := databases(ctx, cfg, log)
	var found places
	var hidden, seen []string
	for _, part := range parts {
		p, unseen, err := visit(ctx, part, topo)
		if err != nil {
			failures = append(failures, p.failed(err))
			continue
		}
		found, hidden, seen = append(found, p), append(hidden, unseen...), append(seen, p.here...)
	}
	if len(found) > 0 {
		kept := found.distinct()
		kept.warn(log, topo.Modules(), hidden, seen)
		failures = append(failures, do(topo, kept))
	}
	for _, p := range found {
		failures = append(failures, p.db.Close())
	}
	return errors.Join(append(failures, end())...)
}

// part is the URL of a database to read; name is the name of its place.
type part struct{ url, name string }

// databases returns the databases to read, and an error for each that is not usable.
func databases(ctx context.Context, cfg config.Config, log *slog.Logger) (parts []part, failures []error, end func() error) {
	end = func() error { return nil }
	if len(cfg.Database.Parts) == 0 {
		database, err := app.OpenDatabase(ctx, cfg, log)
		if err != nil {
			return nil, []error{err}, end
		}
		return []part{{url: database.URL()}}, nil, database.Close
	}
	for i, item := range cfg.Database.Parts {
		text := item.Reveal()
		if !strings.Contains(text, "://") {
			held, err := os.ReadFile(text)
			if err != nil {
				var at *fs.PathError
				if errors.As(err, &at) {
					err = at.Err // the item may be no path, but text with a password
				}
				failures = append(failures, errs.InvalidField("database.parts", "item %d is neither postgres://… nor a file that can be read: %s (an embedded server's is there while it serves)", i+1, err))
				continue
			}
			text = string(held)
			if err := cfg.CheckDatabase(fmt.Sprintf("database.parts: the file of item %d", i+1), text); err != nil {
				failures = append(failures, err)
				continue
			}
		}
		parts = append(parts, part{url: text, name: fmt.Sprintf("item %d of database.parts%s", i+1, shown(text))})
	}
	return parts, failures, end
}

// shown is the part of a URL that may be printed: user, server and database.
func shown(text string) string {
	u, err := pgurl.Parse(text)
	if err != nil {
		return "" // the text may contain a password
	}
	return " (" + u.Where() + ")"
}

func visit(ctx context.Context, from part, topo *bus.Topology) (p place, hidden []string, err error) {
	p.name = from.name
	p.db, err = postgres.Open(ctx, postgres.Config{URL: from.url, Schema: "bus", MaxConns: 2, Application: "millrace operator"})
	if err != nil {
		if p.name == "" {
			err = app.DatabaseError(err)
		}
		return p, nil, err
	}
	if p.here, err = store.Present(ctx, p.db, topo); err == nil {
		hidden, err = store.Hidden(ctx, p.db, topo)
	}
	if err == nil { // the server's start time distinguishes a database from a copy of it
		err = p.db.QueryRowContext(ctx, `SELECT pg_postmaster_start_time()::text || ' ' || oid FROM pg_database WHERE datname = current_database()`).Scan(&p.same)
	}
	if err != nil {
		_ = p.db.Close() // report the first error
	}
	return p, hidden, err
}

// understood adds the next step to a database's error.
func understood(err error) error {
	switch {
	case pq.As(err, pqerror.UndefinedTable, pqerror.InvalidSchemaName, pqerror.UndefinedColumn) != nil:
		return errs.New(errs.NotFound, "this database was not made by this version of the program: serve on it once, or run `millrace migrate` (%w)", err)
	case pq.As(err, pqerror.InsufficientPrivilege) != nil:
		return errs.New(errs.Forbidden, "this database user may not do that: use the owner of the tables, or a member of the module's role (%w)", err)
	}
	return err
}
