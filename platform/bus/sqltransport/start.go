package sqltransport

import (
	"context"

	"millrace/platform/bus/store"
)

// begin creates the subscriber's offsets in a topic, if it is new to it: it reads
// from the first message.
func (s *subscriber) begin(ctx context.Context, topic string) error {
	_, err := s.db.ExecContext(ctx, `
		INSERT INTO offsets (subscriber, topic, partition)
		SELECT $1, $2, n FROM generate_series(0, $3::int) AS n
		WHERE NOT EXISTS (SELECT 1 FROM offsets o WHERE o.subscriber = $1 AND o.topic = $2 AND o.partition = n)
		ON CONFLICT DO NOTHING`, // alone it would wait for a transaction that moves an offset
		s.module, topic, store.Partitions-1)
	return err
}
