package admin

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"time"

	"millrace/platform/bus/store"
)

// Left is what Grant did not take.
type Left struct {
	Rights    []string // as the statements that take them; none if there are none too many
	Processes []string // those that live, as they describe themselves, if Grant left the rights to them
}

// livingProcesses describes the processes that count as alive, the first 20.
func livingProcesses(ctx context.Context, tx *sql.Tx) (all []string, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT id, left(array_to_string(modules, ', '), 100), started_at FROM bus.nodes WHERE `+store.Living+` ORDER BY started_at LIMIT 20`)
	if err != nil {
		return nil, fmt.Errorf("read the living: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var id, hosts string
		var since time.Time
		if err := rows.Scan(&id, &hosts, &since); err != nil {
			return nil, fmt.Errorf("read the living: %w", err)
		}
		all = append(all, fmt.Sprintf("%s, of %s, since %s", id, cmp.Or(hosts, "no module"), since.UTC().Format(time.RFC3339)))
	}
	return all, rows.Err()
}
