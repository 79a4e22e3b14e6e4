package sqltransport

import (
	"context"
	"fmt"
	"time"

	"millrace/platform/bus"
	"millrace/platform/bus/cluster"
	"millrace/platform/bus/store"
	"millrace/platform/errs"
)

// keepHouse polls, in case a notification was lost, and sweeps handled commands.
func (t *Transport) keepHouse(ctx context.Context) {
	tick := time.NewTicker(t.cfg.Poll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for name, r := range t.readers {
			if err := t.poll(ctx, name, r); err != nil && ctx.Err() == nil {
				t.cfg.Logger.Warn("poll failed", "stream", name, "kind", errs.KindOf(err).String(), "error", err.Error())
			}
		}
		for _, s := range t.subscribers {
			if err := s.pollAside(ctx); err != nil && ctx.Err() == nil {
				t.cfg.Logger.Warn("poll failed", "subscriber", s.module, "kind", errs.KindOf(err).String(), "error", err.Error())
			}
			for _, step := range []func(context.Context) error{s.fillHoles, s.sweepCarried} {
				if err := step(ctx); err != nil && ctx.Err() == nil {
					t.cfg.Logger.Warn("sweep failed", "subscriber", s.module, "kind", errs.KindOf(err).String(), "error", err.Error())
				}
			}
			if err := s.sweep(ctx); err != nil && ctx.Err() == nil {
				t.cfg.Logger.Warn("sweep failed", "subscriber", s.module, "kind", errs.KindOf(err).String(), "error", err.Error())
			}
		}
	}
}

// poll wakes the partitions that have other rows than at the last poll. What was
// read is no measure: one subscriber may have read what another was not told of.
func (t *Transport) poll(ctx context.Context, name string, r *reader) error {
	rows, err := t.db.QueryContext(ctx, fmt.Sprintf(
		`SELECT p, coalesce((SELECT max("offset") FROM %s WHERE partition = p::smallint), 0) FROM generate_series(0, %d) AS p`, r.from, store.Partitions-1))
	if err != nil {
		return fmt.Errorf("poll %s: %w", name, err)
	}
	defer rows.Close()
	dirty := cluster.Changes{}
	defer func() { t.wake(dirty) }() // whatever becomes of the rest
	for rows.Next() {
		var partition int
		var newest int64
		if err := rows.Scan(&partition, &newest); err != nil {
			return fmt.Errorf("poll %s: %w", name, err)
		}
		if newest != r.polled[partition] {
			r.polled[partition] = newest
			dirty[name] |= 1 << partition
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("poll %s: %w", name, err)
	}
	return nil
}

// pollAside looks for what may go on though nobody's timer or notification said
// so: retries that are due, and messages held behind nothing any more.
func (s *subscriber) pollAside(ctx context.Context) error {
	if !s.isStarted() {
		return nil
	}
	rows, err := s.db.QueryContext(ctx, `
		SELECT DISTINCT topic, partition FROM (
			SELECT DISTINCT ON (topic, partition, key) topic, partition, state, next_attempt_at FROM parked_messages
			WHERE subscriber = $1 AND state <> 'discarded' ORDER BY topic, partition, key, "offset") AS head
		WHERE state IN ('blocked', 'awaiting_version') OR state = 'retry_scheduled' AND next_attempt_at <= clock_timestamp()`, s.module)
	if err != nil {
		return fmt.Errorf("poll aside: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var topic string
		var partition int
		if err := rows.Scan(&topic, &partition); err != nil {
			return fmt.Errorf("poll aside: %w", err)
		}
		if tasks := s.tasks[topic]; tasks != nil {
			s.queue.poke(&tasks[partition])
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("poll aside: %w", err)
	}
	return nil
}

// sweep removes commands that were handled some time ago, but never a
// partition's newest row, or its offsets would start again below the position.
func (s *subscriber) sweep(ctx context.Context) error {
	topic := bus.CommandsOf(s.module)
	if s.tasks[topic] == nil || !s.isStarted() {
		return nil
	}
	_, err := s.db.ExecContext(ctx, `
		DELETE FROM queue q USING offsets p
		WHERE p.subscriber = $1 AND p.topic = $2 AND q.partition = p.partition AND q."offset" <= p.committed_offset
		AND q.created_at < clock_timestamp() - $3 * interval '1 millisecond'
		AND q."offset" < (SELECT max(n."offset") FROM queue n WHERE n.partition = q.partition)`,
		s.module, topic, s.t.cfg.KeepCommands.Milliseconds())
	if err != nil {
		return fmt.Errorf("sweep %s: %w", topic, err)
	}
	return nil
}
