package sqltransport

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"

	"millrace/platform/errs"
)

// register compares the registry with the configuration. It writes the topics that
// are not there, if the user may: see admin.RegisterTopics.
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
