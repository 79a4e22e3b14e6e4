package demo

import (
	"context"
	"fmt"
	"slices"
)

// restless are tables that change without an effect on the business: partition
// assignments, the turn to write files, the deletion of handled commands and of
// bridged messages, and the schema's version.
var restless = []string{"offsets", "flusher", "queue", "outbox", "inbound", "checkpoints"}

// businessHash is a hash of the rows of each module's tables except the restless
// ones. Events, outbound calls and inboxes are included.
func businessHash(ctx context.Context, db looker, modules []string) (map[string]string, error) {
	hashes := map[string]string{}
	for _, module := range modules {
		tables, err := askFor(ctx, db, nil, `SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') ORDER BY 1`, module)
		if err != nil {
			return nil, err
		}
		for _, table := range tables {
			if slices.Contains(restless, table) {
				continue
			}
			name := module + "." + table
			var hash string
			err := db.QueryRowContext(ctx, fmt.Sprintf(`SELECT count(*) || ' rows, ' || coalesce(md5(string_agg(h, '' ORDER BY h)), '') FROM (SELECT md5(t::text) AS h FROM %s t) x`, name)).Scan(&hash)
			if err != nil {
				return nil, fmt.Errorf("hash %s: %w", name, err)
			}
			hashes[name] = hash
		}
	}
	return hashes, nil
}

// differences names the tables that differ.
func differences(before, after map[string]string) (all []string) {
	for name, hash := range after {
		if before[name] != hash {
			all = append(all, fmt.Sprintf("%s changed: from %s to %s", name, before[name], hash))
		}
	}
	slices.Sort(all)
	return all
}
