package store

import (
	"cmp"
	"context"
	"database/sql"
	"slices"

	"github.com/lib/pq"
)

// Checkpoint is how far a partition of a broker was received, kept in a module's database. It
// moves in the transaction that keeps what arrived. So it is right whatever the broker
// remembers, also after the database was restored from a backup.
type Checkpoint struct {
	Topic     string
	Partition int32
	TopicID   string // the broker's: a checkpoint in another topic of this name means nothing
	From, To  int64  // what is received begins and ends here; To is where to go on
}

// checkpointColumns are checkpoints as arguments, an array for each column, in an order that
// is the same for all transactions.
func checkpointColumns(checkpoints []Checkpoint) []any {
	checkpoints = slices.SortedFunc(slices.Values(checkpoints), func(a, b Checkpoint) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	n := len(checkpoints)
	topics, topicIDs := make([]string, n), make([]string, n)
	partitions, from, to := make([]int64, n), make([]int64, n), make([]int64, n)
	for i, c := range checkpoints {
		topics[i], partitions[i], topicIDs[i], from[i], to[i] = c.Topic, int64(c.Partition), c.TopicID, c.From, c.To
	}
	return []any{pq.Array(topics), pq.Array(partitions), pq.Array(topicIDs), pq.Array(from), pq.Array(to)}
}

// Checkpoints returns the checkpoint of each partition of which a module has ever received.
func Checkpoints(ctx context.Context, db *sql.DB) ([]Checkpoint, error) {
	return queryCheckpoints(ctx, db, "")
}

// FlushCheckpoints is as Checkpoints, and waits until all that they cover is on the disk: no
// crash of the database server forgets it any more.
func FlushCheckpoints(ctx context.Context, db *sql.DB) ([]Checkpoint, error) {
	// A commit that waits for the disk takes along what was committed before.
	return queryCheckpoints(ctx, db, `
		WITH written AS (
			UPDATE checkpoints r SET "offset" = r."offset"
			WHERE (r.topic, r.partition) = (SELECT topic, partition FROM checkpoints ORDER BY topic, partition LIMIT 1)
		)`)
}

func queryCheckpoints(ctx context.Context, db *sql.DB, with string) (all []Checkpoint, err error) {
	rows, err := db.QueryContext(ctx, with+` SELECT topic, partition, topic_id, "offset" FROM checkpoints`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var c Checkpoint
		if err := rows.Scan(&c.Topic, &c.Partition, &c.TopicID, &c.To); err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, rows.Err()
}

// BeginCheckpoints sets checkpoints to their To, where there are none, or where they are of
// another topic ID.
func BeginCheckpoints(ctx context.Context, db *sql.DB, checkpoints []Checkpoint) error {
	args := checkpointColumns(checkpoints)
	_, err := db.ExecContext(ctx, `
		INSERT INTO checkpoints AS r (topic, partition, topic_id, "offset")
		SELECT * FROM unnest($1::text[], $2::int[], $3::text[], $4::bigint[])
		ON CONFLICT (topic, partition) DO UPDATE SET topic_id = excluded.topic_id, "offset" = excluded."offset"
		WHERE r.topic_id <> excluded.topic_id`, args[0], args[1], args[2], args[4])
	return err
}
