package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
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
	name string // which item of database.parts it is, without its password; "" if there are no parts
	same string // two places are one database if this is the same
}

// failed says what failed there, and what to do about it.
func (p place) failed(err error) error {
	if err = understood(err); err == nil || p.name == "" {
		return err
	}
	return fmt.Errorf("%s: %w", p.name, err)
}

// look gives a command the databases of the configuration, as they are, and the
// map of messages. It is the program's one database, or each of database.parts:
// modules that are processes of their own may have a database each, or a role
// each. The owner of the tables sees all, a member of a module's role that
// module. Looking must not migrate what an older version serves.
//
// A part that cannot be looked into is an error of the command, which does what
// it can with the others all the same. A module that is nowhere is told, and so
// is one that two databases have: one of them is what a move left behind.
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

// part is a database to look into; its name is as a place's.
type part struct{ url, name string }

// databases are those to look into, and what is wrong with the others.
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
					err = at.Err // its path may be no path, and hold a password
				}
				failures = append(failures, errs.InvalidField("database.parts", "item %d is neither postgres://… nor a file that can be read: %s (an embedded server's is there while it serves)", i+1, err))
				continue
			}
			text = strings.TrimSpace(string(held))
		}
		parts = append(parts, part{url: text, name: fmt.Sprintf("item %d of database.parts%s", i+1, shown(text))})
	}
	return parts, failures, end
}

// shown is what of a URL may be shown: who goes where.
func shown(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Path == "" {
		return "" // whatever it is may hold a password
	}
	host := u.Host
	if host == "" {
		host = u.Query().Get("host")
	}
	if user := u.User.Username(); user != "" {
		host = user + "@" + host
	}
	return " (" + host + u.Path + ")"
}

func visit(ctx context.Context, from part, topo *bus.Topology) (p place, hidden []string, err error) {
	p.name = from.name
	p.db, err = postgres.Open(ctx, postgres.Config{URL: from.url, Schema: "bus", MaxConns: 2, Application: "millrace operator"})
	if err != nil {
		return p, nil, err
	}
	if p.here, err = sqltransport.Present(ctx, p.db, topo); err == nil {
		hidden, err = sqltransport.Hidden(ctx, p.db, topo)
	}
	if err == nil { // the server's start tells it from a copy of it
		err = p.db.QueryRowContext(ctx, `SELECT pg_postmaster_start_time()::text || ' ' || oid FROM pg_database WHERE datname = current_database()`).Scan(&p.same)
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
