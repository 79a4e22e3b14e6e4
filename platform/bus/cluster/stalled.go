package cluster

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/google/uuid"
	"github.com/lib/pq"
)

// endStalled ends transactions of nodes whose lease has expired that delay others and do
// nothing: idle in a transaction, or waiting for a lock. A process that was stopped in
// the middle of its work holds rows and publish locks until the server's own time limit
// (3 s idle in a transaction), and its transactions that wait for each other do so one
// after the other.
//
// Safety does not depend on it: a node that was only slow repeats the work, or finds it
// done. Connections are recognised by the node in their name. Those that this user may
// not end, since they are another role's, are left to the time limit.
func (l *Lease) endStalled(ctx context.Context) error {
	var ended int
	err := l.DB.QueryRowContext(ctx, `
		SELECT count(pg_terminate_backend(a.pid)) FROM nodes p JOIN pg_stat_activity a ON a.application_name LIKE 'millrace % ' || p.id
		WHERE p.id <> $1 AND p.expires_at < clock_timestamp() AND p.expires_at > clock_timestamp() - interval '1 minute'
		AND a.datname = current_database() AND (a.state LIKE 'idle in transaction%' OR a.wait_event_type = 'Lock')`, l.Node).Scan(&ended)
	if err != nil {
		return fmt.Errorf("end transactions of stalled nodes: %w", err)
	}
	if ended > 0 {
		l.Logger.Warn("transactions of a stalled node ended", "transactions", ended)
		l.RenewSoon() // what they held is free in a moment
	}
	return nil
}

// ApplicationName names a module's connections: "millrace delivery <node>". The server
// cuts names off after 63 bytes (NAMEDATALEN - 1), and the node must be whole, so a long
// module's name is cut off here.
func ApplicationName(module string, node uuid.UUID) string {
	const forModule = 63 - len("millrace ") - len(" ") - len("00000000-0000-0000-0000-000000000000")
	return "millrace " + module[:min(len(module), forModule)] + " " + node.String()
}

// Expired lists the other nodes whose lease has expired in the last minute, and that did
// not end it: killed, stalled, or cut off from this database. db has the search path bus.
func Expired(ctx context.Context, db *sql.DB, self uuid.UUID) (nodes []uuid.UUID, err error) {
	var ids []string
	err = db.QueryRowContext(ctx, `
		SELECT coalesce(array_agg(id::text), '{}') FROM nodes
		WHERE id <> $1 AND expires_at < clock_timestamp() AND expires_at > clock_timestamp() - interval '1 minute'`, self).Scan(pq.Array(&ids))
	if err != nil {
		return nil, fmt.Errorf("read expired leases: %w", err)
	}
	for _, id := range ids {
		node, err := uuid.Parse(id)
		if err != nil {
			return nil, fmt.Errorf("read expired leases: %w", err)
		}
		nodes = append(nodes, node)
	}
	return nodes, nil
}
