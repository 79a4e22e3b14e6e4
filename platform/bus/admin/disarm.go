package admin

import (
	"context"
	"database/sql"
	"slices"

	"millrace/platform/bus"
	"millrace/platform/errs"
	"millrace/platform/postgres"
)

// Disarm takes from the modules' roles, and from PUBLIC, the rights to create something
// in the schemas of the bus and of the modules, or on their tables. No version needs
// them; with them a role could leave something that the owner runs. It comes before the
// owner does anything there, and runs nothing that is there. Without schemas it does
// nothing.
func (r Roles) Disarm(ctx context.Context, url string, topo *bus.Topology, modules []string) (err error) {
	defer errs.Wrap(&err, "take the modules' rights to create")
	db, err := postgres.Open(ctx, postgres.Config{URL: url, Schema: catalogOnly, MaxConns: 1, Application: "millrace migrate"})
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }() // the commit reports what failed
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after the commit it does nothing; else report the first error
	if err := r.disarm(ctx, tx, topo, modules); err != nil {
		return err
	}
	return tx.Commit()
}

func (r Roles) disarm(ctx context.Context, tx *sql.Tx, topo *bus.Topology, modules []string) error {
	things, err := thingsOf(ctx, tx, modules)
	if err != nil {
		return err
	}
	given, err := r.given(ctx, tx, topo, things)
	if err != nil {
		return err
	}
	var changes []string
	var taken []grant
	for g := range given {
		if creates(g.verb) {
			taken = append(taken, g)
			changes = append(changes, g.text("REVOKE", "FROM")+" CASCADE")
		}
	}
	if err := change(ctx, tx, changes); err != nil || len(taken) == 0 {
		return err
	}
	return r.lost(ctx, tx, topo, things, taken)
}

// creates reports whether a right lets its holder create something: in a schema, or on
// a table a trigger or a foreign key.
func creates(verb string) bool {
	return slices.Contains([]string{"CREATE", "TRIGGER", "REFERENCES"}, verb)
}
