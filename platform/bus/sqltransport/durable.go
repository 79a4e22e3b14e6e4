package sqltransport

import (
	"context"
	"database/sql"
	"fmt"

	"millrace/platform/errs"
)

// durable refuses a server that confirms commits before they are on its disk: in
// a crash it would forget what others were told, and positions behind which they
// have gone. Where that does no harm, a statement says so itself.
func durable(ctx context.Context, db *sql.DB) error {
	var waits, database string
	if err := db.QueryRowContext(ctx, `SELECT current_setting('synchronous_commit'), quote_ident(current_database())`).Scan(&waits, &database); err != nil {
		return fmt.Errorf("how commits are confirmed: %w", err)
	}
	if waits == "off" {
		return errs.InvalidField("URL", "the database confirms commits before they are on its disk (synchronous_commit = off), so a crash loses messages that were accepted: "+
			"ALTER DATABASE %s SET synchronous_commit = on, or leave the setting out of the URL and the role", database)
	}
	return nil
}

// Distrust has everything that this process believes of the database's positions
// and messages read anew: the database has forgotten something, in a crash, or
// because it was restored or a standby stands in for it.
func (t *Transport) Distrust() {
	for _, s := range t.subscribers {
		for stream, tasks := range s.tasks {
			for p := range tasks {
				s.readers[stream].reset(p)
				s.queue.change(&tasks[p], func() { tasks[p].reload = true })
			}
		}
	}
	t.lease.RenewSoon()
}
