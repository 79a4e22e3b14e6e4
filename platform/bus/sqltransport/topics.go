package sqltransport

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"

	"millrace/platform/bus"
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
	names := pq.Array(topicsOf(topo))
	_, err = db.ExecContext(ctx, `
		INSERT INTO topics (name, transport) SELECT n, coalesce((SELECT min(transport) FROM topics WHERE name = ANY($1)), $2) FROM unnest($1::text[]) AS n ON CONFLICT DO NOTHING`, names, transport)
	return err
}

func topicsOf(topo *bus.Topology) (all []string) {
	for _, module := range topo.Modules() {
		all = append(all, bus.EventsOf(module), bus.CommandsOf(module))
	}
	return all
}

// register compares the registry with the configuration. It writes the topics that
// are not there, if the user may: see RegisterTopics.
func (t *Transport) register(ctx context.Context) error {
	for _, topic := range t.topics {
		var carrier string
		err := t.db.QueryRowContext(ctx, `SELECT transport FROM topics WHERE name = $1`, topic).Scan(&carrier)
		if errors.Is(err, sql.ErrNoRows) {
			_, err = t.db.ExecContext(ctx, `INSERT INTO topics (name, transport) VALUES ($1, $2) ON CONFLICT DO NOTHING`, topic, t.carrier())
			if pq.As(err, pqerror.InsufficientPrivilege) != nil {
				return errs.New(errs.Forbidden, "topic %s is not registered, and this user may not register it: run `millrace migrate` as the owner of the tables", topic)
			}
			if err == nil { // perhaps another process was faster
				err = t.db.QueryRowContext(ctx, `SELECT transport FROM topics WHERE name = $1`, topic).Scan(&carrier)
			}
		}
		if err != nil {
			return fmt.Errorf("register topic %s: %w", topic, err)
		}
		if carrier != t.carrier() {
			return errs.InvalidField("transport", "topic %s travels by %s in this database; this process is configured for %s", topic, carrier, t.carrier())
		}
	}
	return nil
}
