package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"

	"github.com/lib/pq"

	"millrace/platform/bus"
)

// Superseded returns which rows their publisher, which works on this database, does not have:
// it was restored to a time before it published them, and what it has published since then has
// their numbers. hosted reports whether this process hosts a module.
func Superseded(ctx context.Context, db *sql.DB, topo *bus.Topology, hosted func(module string) bool, rows []Row) ([]bool, error) {
	superseded := make([]bool, len(rows))
	bySource := map[[2]string][]int{}
	for i, row := range rows {
		if row.Sequence > 0 {
			bySource[[2]string{row.Topic, row.Source}] = append(bySource[[2]string{row.Topic, row.Source}], i)
		}
	}
	for key, at := range bySource {
		topic, source := key[0], key[1]
		if !slices.Contains(topo.Modules(), source) {
			continue
		}
		table, from := source+".outbox", OutboxOf(source, topic)
		if topic == bus.EventsOf(source) {
			table, from = source+".log", source+".log"
		}
		var here bool
		// Tables on which no node works are perhaps a copy: the publisher has moved elsewhere.
		if err := db.QueryRowContext(ctx, `SELECT coalesce(has_table_privilege(to_regclass($1), 'SELECT'), false)
			AND ($3 OR EXISTS (SELECT FROM nodes WHERE $2 = ANY(modules) AND `+Living+`))`,
			table, RelayOf(source), hosted(source)).Scan(&here); err != nil {
			return nil, err
		}
		if !here {
			continue
		}
		var partitions, offsets []int64
		var ids []string
		for _, i := range at {
			partitions, offsets, ids = append(partitions, int64(rows[i].Partition)), append(offsets, rows[i].Sequence), append(ids, rows[i].ID.String())
		}
		// A row that was pruned is below the newest, which never is.
		var found []bool
		if err := db.QueryRowContext(ctx, fmt.Sprintf(`
			SELECT array_agg(EXISTS (SELECT 1 FROM %[1]s WHERE partition = m.partition AND "offset" = m."offset" AND id <> m.id)
				OR m."offset" > coalesce((SELECT max("offset") FROM %[1]s WHERE partition = m.partition), 0) ORDER BY m.n)
			FROM unnest($1::smallint[], $2::bigint[], $3::uuid[]) WITH ORDINALITY AS m(partition, "offset", id, n)`, from),
			pq.Array(partitions), pq.Array(offsets), pq.Array(ids)).Scan(pq.Array(&found)); err != nil {
			return nil, err
		}
		for k, i := range at {
			superseded[i] = found[k]
		}
	}
	return superseded, nil
}
