package sqltransport

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/lib/pq"
)

// endFrozen ends the transactions of processes whose lease has run out, where
// they hold up others and do nothing: idle inside a transaction, or waiting for
// a lock. A process that is stopped in the middle of its work holds its rows and
// publish locks until the server's own time limit (3 s idle in a transaction),
// and its transactions that wait for each other do so one after the other.
//
// Safety does not need it: whoever was only slow does the work again, or finds
// it done. Connections are known by the process's id in their name; those that
// may not be ended (another role's) are left to the time limit.
func (l *lease) endFrozen(ctx context.Context) error {
	var ended int
	err := l.db.QueryRowContext(ctx, `
		SELECT count(pg_terminate_backend(a.pid)) FROM nodes p JOIN pg_stat_activity a ON a.application_name LIKE 'millrace % ' || p.id
		WHERE p.id <> $1 AND p.expires_at < clock_timestamp() AND p.expires_at > clock_timestamp() - interval '1 minute'
		AND a.datname = current_database() AND (a.state LIKE 'idle in transaction%' OR a.wait_event_type = 'Lock')`, l.t.process).Scan(&ended)
	if err != nil {
		return fmt.Errorf("end what a frozen process holds: %w", err)
	}
	if ended > 0 {
		l.t.cfg.Logger.Warn("transactions of a process that is not heard of any more were ended", "transactions", ended)
		l.now() // what they held is free in a moment
	}
	return nil
}

// applicationName names a module's connections, as "millrace delivery <process>".
// The server cuts names off after 63 bytes (NAMEDATALEN - 1), and endFrozen looks
// for the process at the end, so a long module's name is cut off here.
func applicationName(module string, process uuid.UUID) string {
	const forModule = 63 - len("millrace ") - len(" ") - len("00000000-0000-0000-0000-000000000000")
	return "millrace " + module[:min(len(module), forModule)] + " " + process.String()
}

// Gone lists the processes whose lease has run out in the last minute, and that
// did not end by themselves: killed, frozen, or cut off from this database.
func (t *Transport) Gone(ctx context.Context) (gone []uuid.UUID, err error) {
	var ids []string
	err = t.db.QueryRowContext(ctx, `
		SELECT coalesce(array_agg(id::text), '{}') FROM nodes
		WHERE id <> $1 AND expires_at < clock_timestamp() AND expires_at > clock_timestamp() - interval '1 minute'`, t.process).Scan(pq.Array(&ids))
	if err != nil {
		return nil, fmt.Errorf("look for processes that are gone: %w", err)
	}
	for _, id := range ids {
		parsed, err := uuid.Parse(id)
		if err != nil {
			return nil, fmt.Errorf("look for processes that are gone: %w", err)
		}
		gone = append(gone, parsed)
	}
	return gone, nil
}

// Process is what the other processes know this one by.
func (t *Transport) Process() uuid.UUID { return t.process }
