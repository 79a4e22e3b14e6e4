package sqltransport

import (
	"context"
	"fmt"
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
	err := l.t.db.QueryRowContext(ctx, `
		SELECT count(pg_terminate_backend(a.pid)) FROM processes p JOIN pg_stat_activity a ON a.application_name LIKE 'millrace % ' || p.id
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
