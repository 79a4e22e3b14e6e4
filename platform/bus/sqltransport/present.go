package sqltransport

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/lib/pq"

	"millrace/platform/bus"
	"millrace/platform/errs"
)

// Present lists the modules whose part of the bus is in this database, in the
// topology's order. Where modules have databases of their own, each database
// has some of them. With none at all the error is NotFound.
func Present(ctx context.Context, db interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}, topo *bus.Topology,
) (here []string, err error) {
	defer errs.Wrap(&err, "look for the modules in this database")
	rows, err := db.QueryContext(ctx, `
		SELECT m.name FROM unnest($1::text[]) WITH ORDINALITY AS m(name, place)
		WHERE to_regclass(quote_ident(m.name) || '.inbox') IS NOT NULL ORDER BY m.place`, pq.Array(topo.Modules()))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, fmt.Errorf("read: %w", err)
		}
		here = append(here, name)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	if len(here) == 0 {
		return nil, errs.New(errs.NotFound, "it has none: serve on it once, or run `millrace migrate`")
	}
	return here, nil
}
