package store

import (
	"context"
	"fmt"
	"time"

	"github.com/lib/pq"

	"millrace/platform/bus"
)

// Register records that a subscriber subscribes to a type.
func Register(ctx context.Context, o *Offsets, messageType string) error {
	if _, err := o.DB.ExecContext(ctx, `INSERT INTO bus.registrations (subscriber, type) VALUES ($1, $2) ON CONFLICT DO NOTHING`, o.Subscriber, messageType); err != nil {
		return fmt.Errorf("register %s for %s: %w", o.Subscriber, messageType, err)
	}
	return nil
}

// RegisteredByOthers lists types, 20 at the most, to which other versions of a subscriber
// have subscribed, and that are not among the known ones.
func RegisteredByOthers(ctx context.Context, o *Offsets, known []string) (types []string, err error) {
	err = o.DB.QueryRowContext(ctx, `SELECT coalesce(array_agg(type ORDER BY type), '{}') FROM (
		SELECT type FROM bus.registrations WHERE subscriber = $1 AND type <> ALL($2) LIMIT 20) AS r`,
		o.Subscriber, pq.Array(known)).Scan(pq.Array(&types))
	if err != nil {
		return nil, fmt.Errorf("subscriptions of other versions of %s: %w", o.Subscriber, err)
	}
	return types, nil
}

// PruneCommands deletes commands that a module handled longer ago than keep, but never a
// partition's newest row, or its offsets would start again below the committed one.
func PruneCommands(ctx context.Context, o *Offsets, keep time.Duration) error {
	topic := bus.CommandsOf(o.Subscriber)
	_, err := o.DB.ExecContext(ctx, `
		DELETE FROM queue q USING offsets p
		WHERE p.subscriber = $1 AND p.topic = $2 AND q.partition = p.partition AND q."offset" <= p.committed_offset
		AND q.created_at < clock_timestamp() - $3 * interval '1 millisecond'
		AND q."offset" < (SELECT max(n."offset") FROM queue n WHERE n.partition = q.partition)`,
		o.Subscriber, topic, keep.Milliseconds())
	if err != nil {
		return fmt.Errorf("prune %s: %w", topic, err)
	}
	return nil
}
