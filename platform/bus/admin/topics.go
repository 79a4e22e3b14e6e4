package admin

import (
	"context"

	"github.com/lib/pq"

	"millrace/platform/bus"
	"millrace/platform/bus/store"
	"millrace/platform/errs"
	"millrace/platform/postgres"
)

// RegisterTopics writes the topics into the registry, as the owner of the tables:
// modules' roles may not, or one could register a future module's topics for another
// transport. New ones are of the transport that is given, or of the one that the
// topics which are there have.
func RegisterTopics(ctx context.Context, url string, topo *bus.Topology, transport string) (err error) {
	defer errs.Wrap(&err, "register the topics")
	db, err := postgres.Open(ctx, postgres.Config{URL: url, Schema: "bus", MaxConns: 1, Application: "millrace migrate"})
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }() // the statement has ended
	names := pq.Array(store.Topics(topo))
	_, err = db.ExecContext(ctx, `
		INSERT INTO topics (name, transport) SELECT n, coalesce((SELECT min(transport) FROM topics WHERE name = ANY($1)), $2) FROM unnest($1::text[]) AS n ON CONFLICT DO NOTHING`, names, transport)
	return err
}
