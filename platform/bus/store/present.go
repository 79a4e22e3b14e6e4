package store

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/lib/pq"

	"millrace/platform/bus"
	"millrace/platform/errs"
)

// Querier is a database, or a transaction or connection on it.
type Querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// Present lists the modules whose part of the bus is in this database, in the
// topology's order, as far as the connection's user may read them. Where modules
// have databases of their own, each database has some of them; a module's own
// role may read its own. With none at all the error is NotFound; Forbidden, if
// there are some and the user may read none.
func Present(ctx context.Context, db Querier, topo *bus.Topology) (here []string, err error) {
	defer errs.Wrap(&err, "look for the modules in this database")
	here, hidden, err := present(ctx, db, topo)
	switch {
	case err != nil:
		return nil, err
	case len(here) == 0 && len(hidden) > 0:
		return nil, errs.New(errs.Forbidden, "this user may read none of them: use the owner of the tables, or a member of a module's role")
	case len(here) == 0:
		return nil, errs.New(errs.NotFound, "it has none: serve on it once, or run `millrace migrate`")
	}
	return here, nil
}

// Hidden lists the modules that are in this database too, and that the
// connection's user may not read.
func Hidden(ctx context.Context, db Querier, topo *bus.Topology) (hidden []string, err error) {
	defer errs.Wrap(&err, "look for the modules in this database")
	_, hidden, err = present(ctx, db, topo)
	return hidden, err
}

func present(ctx context.Context, db Querier, topo *bus.Topology) (here, hidden []string, err error) {
	rows, err := db.QueryContext(ctx, `
		SELECT m.name, has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
		FROM unnest($1::text[]) WITH ORDINALITY AS m(name, place)
		JOIN pg_namespace n ON n.nspname = m.name JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = 'inbox' ORDER BY m.place`, pq.Array(topo.Modules()))
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		var readable bool
		if err := rows.Scan(&name, &readable); err != nil {
			return nil, nil, fmt.Errorf("read: %w", err)
		}
		if readable {
			here = append(here, name)
		} else {
			hidden = append(hidden, name)
		}
	}
	return here, hidden, rows.Err()
}
