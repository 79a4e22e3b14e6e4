package sqltransport

import (
	"context"
	"database/sql"
	"fmt"
	"slices"

	"github.com/lib/pq"

	"millrace/platform/bus"
	"millrace/platform/bus/cluster"
	"millrace/platform/bus/store"
	"millrace/platform/errs"
	"millrace/platform/failpoint"
)

// receiveSQL writes what arrived under the numbers it came with. A row at or
// below the subscriber's position was handled before: it is a repetition, as is
// one that is there already.
//
// What moves marks does not wait for the disk: what a crash of the server
// forgets of it the marks forget too, and the carrier brings it again.
//
// A statement that commits by itself moves marks only if all rows are new: what becomes of
// the others is decided in a transaction, with the marks (receiveAll).
const receiveSQL = `
WITH pace AS MATERIALIZED (
	SELECT set_config('synchronous_commit', CASE WHEN cardinality($10::text[]) > 0 THEN 'off' ELSE current_setting('synchronous_commit') END, true)
), kept AS (
INSERT INTO inbound (topic, partition, "offset", id, type, key, payload, metadata)
SELECT m.topic, m.partition, m."offset", m.id, m.type, m.key, m.payload, m.metadata::json
FROM unnest($2::text[], $3::smallint[], $4::bigint[], $5::uuid[], $6::text[], $7::text[], $8::bytea[], $9::text[])
    AS m(topic, partition, "offset", id, type, key, payload, metadata)
LEFT JOIN offsets p ON p.subscriber = $1 AND p.topic = m.topic AND p.partition = m.partition
WHERE m."offset" > coalesce(p.committed_offset, 0)
ORDER BY m.topic, m.partition, m."offset"
ON CONFLICT DO NOTHING RETURNING 1
),` + moveMarks + `
SELECT (SELECT count(*) FROM kept),` + isBehind + ` FROM pace`

// Receive keeps what a carrier brought to a hosted module, in one transaction,
// and wakes whoever handles it. Giving rows again is harmless. Rows without a
// number are put into the module's own queue, since nobody promises anything
// about their order. The marks say how far this brings the carrier's partitions,
// see Mark.
//
// A row whose number another message has, or whose number cannot be true (see
// refuseJumps), becomes a dead letter that blocks nothing.
//
// Once it has returned nil the carrier may forget rows that came without marks.
// Those with marks it may forget after the next Flush: until then a crash of the
// database server may forget them and their marks, together.
//
// It waits until the router has subscribed to all that the module hears. The
// errors are the database's, and then nothing was kept; or ErrBehind, about the
// marks alone.
func (t *Transport) Receive(ctx context.Context, module string, rows []store.Row, marks ...Mark) (err error) {
	s := t.subscribers[module]
	if s == nil || t.carrying[module] == nil {
		return errs.New(errs.Invalid, "module %s is not hosted here with a carrier", module)
	}
	if len(rows)+len(marks) == 0 {
		return nil
	}
	select {
	case <-s.started:
	case <-s.stopping:
		return errs.New(errs.Shutdown, "module %s is closed", module)
	case <-ctx.Done():
		return errs.As(errs.Timeout, ctx.Err())
	}
	if rows, err = t.refuseJumps(ctx, module, rows); err != nil {
		return err
	}
	counted := slices.DeleteFunc(slices.Clone(rows), func(r store.Row) bool { return r.Sequence == 0 })
	dirty := cluster.Changes{}
	for _, r := range rows {
		if r.Sequence == 0 {
			dirty[bus.CommandsOf(module)] |= 1 << store.PartitionOf(r.Key)
		} else {
			dirty[arrived(module, t.streamOf(r.Topic, r.Source))] |= 1 << r.Partition
		}
	}
	var kept int
	var behind bool
	given := false
	failpoint.Here("inbound.before_commit")
	if len(counted) == len(rows) {
		// Most of the time it is one statement, which commits by itself.
		var b store.Columns
		kept, behind, err = t.keep(ctx, t.carrying[module], module, &b, rows, marks, false)
		given = err == nil && kept == len(rows) && t.give(module, rows, &b)
		failpoint.Here("inbound.kept")
	}
	if err == nil && kept < len(rows) {
		kept = len(rows)
		behind, err = t.receiveAll(ctx, t.carrying[module], module, rows, counted, marks, dirty)
	}
	if err == nil {
		for _, r := range counted {
			t.heights.raise(height{module, t.streamOf(r.Topic, r.Source), r.Partition}, r.Sequence)
		}
	}
	failpoint.Here("inbound.after_commit")
	if kept > 0 || err != nil { // after an error too: perhaps only the answer was lost
		if given {
			t.rouse(dirty)
		} else {
			t.wake(dirty)
		}
		t.notifier.Notify(dirty)
	}
	if err == nil && behind {
		t.Distrust()
		return ErrBehind
	}
	return err
}

// receiveAll keeps rows of all kinds.
func (t *Transport) receiveAll(ctx context.Context, db *sql.DB, module string, rows, counted []store.Row, marks []Mark, dirty cluster.Changes) (behind bool, err error) {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return false, fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // after the commit it does nothing; else the first error is the one to tell
	var b store.Columns
	kept, behind, err := t.keep(ctx, tx, module, &b, counted, marks, true)
	if err != nil {
		return false, err
	}
	foreign := slices.DeleteFunc(slices.Clone(rows), func(r store.Row) bool { return r.Sequence != 0 })
	if kept < len(counted) {
		taken, err := t.taken(ctx, tx, module, counted)
		if err != nil {
			return false, err
		}
		foreign = append(foreign, taken...)
		for _, r := range taken {
			dirty[bus.CommandsOf(module)] |= 1 << store.PartitionOf(r.Key)
		}
	}
	if len(foreign) > 0 {
		if err := t.queue(ctx, tx, module, foreign); err != nil {
			return false, err
		}
	}
	if err := tx.Commit(); err != nil {
		return false, fmt.Errorf("commit: %w", err)
	}
	return behind, nil
}

// executing is a transaction, or a database where each statement is one.
type executing interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// give hands rows, all of which were kept just now, to those that handle them.
// False says that some have to be read from the table.
func (t *Transport) give(module string, rows []store.Row, b *store.Columns) (all bool) {
	all = true
	for i, row := range rows {
		r := t.readers[arrived(module, t.streamOf(row.Topic, row.Source))]
		all = r != nil && r.offer(row.Partition, record{
			offset: row.Sequence, id: row.ID, typ: row.Type, key: row.Key, metadata: []byte(b.Metadata[i]), decoded: &decodedMetadata{},
			payload: slices.Clone(b.Payloads[i]), // the carrier's may be a part of something larger
		}) && all
	}
	return all
}

// keep writes counted rows into the module's inbound table and moves the marks.
// It tells how many of the rows were new, and whether a mark is before where
// they begin.
func (t *Transport) keep(ctx context.Context, db executing, module string, b *store.Columns, rows []store.Row, marks []Mark, always bool) (kept int, behind bool, err error) {
	streams := make([]string, len(rows))
	offsets := make([]int64, len(rows))
	for i, row := range rows {
		streams[i], offsets[i] = t.streamOf(row.Topic, row.Source), row.Sequence
		if err := b.AddRow(row, row.Partition); err != nil {
			return 0, false, err
		}
	}
	args := append([]any{module, pq.Array(streams), pq.Array(b.Partitions), pq.Array(offsets),
		pq.Array(b.IDs), pq.Array(b.Types), pq.Array(b.Keys), pq.ByteaArray(b.Payloads), pq.Array(b.Metadata)}, append(markColumns(marks), always)...)
	if err := db.QueryRowContext(ctx, receiveSQL, args...).Scan(&kept, &behind); err != nil {
		return 0, false, fmt.Errorf("receive: %w", err)
	}
	return kept, behind, nil
}

// queue writes rows that nobody counted into the module's queue.
func (t *Transport) queue(ctx context.Context, tx *sql.Tx, module string, rows []store.Row) error {
	var b store.Columns
	for _, row := range rows {
		row, err := t.fit(module, row)
		if err != nil {
			return err
		}
		if err := b.AddRow(row, store.PartitionOf(row.Key)); err != nil {
			return err
		}
	}
	_, err := tx.ExecContext(ctx, `SELECT append_queue($1, $2, $3, $4, $5, $6)`,
		b.Arrays()...)
	if err != nil {
		return fmt.Errorf("receive: %w", err)
	}
	return nil
}

// mostFilled is the largest hole that is filled with a row for each number. A larger
// one gets one row, before what follows, and the node to which the partition is
// assigned moves the committed offset there.
const mostFilled = 1000

// holesAtOnce is how many holes of a subscriber are filled in one statement; the next
// poll fills others.
const holesAtOnce = 10

// fillHoles puts rows in the place of what never arrived, right behind the
// subscriber's positions. Else its partitions would stand still for ever.
func (s *subscriber) fillHoles(ctx context.Context) error {
	if s.t.cfg.Carrier == nil || s.relay() || !s.isStarted() {
		return nil
	}
	rows, err := s.db.QueryContext(ctx, `
		WITH hole AS (
			SELECT p.topic AS topic, p.partition, p.committed_offset + 1 AS first, next."offset" - 1 AS last
			FROM offsets p CROSS JOIN LATERAL (
				SELECT i."offset", i.created_at FROM inbound i WHERE i.topic = p.topic AND i.partition = p.partition AND i."offset" > p.committed_offset
				ORDER BY i."offset" LIMIT 1) next
			WHERE p.subscriber = $1 AND next."offset" > p.committed_offset + 1 AND next.created_at < clock_timestamp() - $2 * interval '1 millisecond'
			LIMIT $7
		), passed AS (
			UPDATE offsets p SET committed_offset = h.last - 1 FROM hole h
			WHERE p.subscriber = $1 AND p.topic = h.topic AND p.partition = h.partition AND p.committed_offset = h.first - 1 AND p.node = $6 AND h.last - h.first >= $5
			RETURNING h.topic, h.partition, h.first, h.last, h.last AS begins
		), filled AS (
			INSERT INTO inbound (topic, partition, "offset", id, type, key, payload, metadata)
			SELECT topic, partition, n, gen_random_uuid(), CASE WHEN n = begins THEN $3 ELSE $4 END,
				format('lost %s/%s/%s-%s', topic, partition, first, last), '{}', '{}'
			FROM (SELECT *, first AS begins FROM hole WHERE last - first < $5 UNION ALL SELECT * FROM passed) h CROSS JOIN LATERAL generate_series(begins, last) AS n
			ON CONFLICT DO NOTHING
		)
		SELECT topic, partition, first, last FROM hole WHERE last - first < $5 UNION ALL SELECT topic, partition, first, last FROM passed`, s.module, s.t.cfg.LostAfter.Milliseconds(), store.TypeLost, store.TypeLostToo, mostFilled, s.t.process, holesAtOnce)
	if err != nil {
		return fmt.Errorf("look for what is lost: %w", err)
	}
	defer rows.Close()
	dirty := cluster.Changes{}
	for rows.Next() {
		var stream string
		var partition int
		var first, last int64
		if err := rows.Scan(&stream, &partition, &first, &last); err != nil {
			return fmt.Errorf("look for what is lost: %w", err)
		}
		dirty[arrived(s.schema, stream)] |= 1 << partition
		if tasks := s.tasks[stream]; tasks != nil && last-first >= mostFilled {
			s.queue.change(&tasks[partition], func() { tasks[partition].reload = true })
		}
		s.log.Error("messages never arrived, and what follows them has waited long enough: see the dead letters",
			"stream", stream, "partition", partition, "first", first, "last", last)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("look for what is lost: %w", err)
	}
	s.t.wake(dirty)
	s.t.notifier.Notify(dirty)
	return nil
}

// sweepCarried removes what was handled of what arrived, and what was handed
// over of what was sent, but never the newest row of an outbox, or its numbers
// would start again.
func (s *subscriber) sweepCarried(ctx context.Context) error {
	if s.t.cfg.Carrier == nil || !s.isStarted() {
		return nil
	}
	text := `
		DELETE FROM inbound i USING offsets p
		WHERE p.subscriber = $1 AND p.topic = i.topic AND p.partition = i.partition AND i."offset" <= p.committed_offset
		AND i.created_at < clock_timestamp() - $2 * interval '1 millisecond'`
	if s.relay() {
		text = `
		DELETE FROM outbox o USING offsets p
		WHERE p.subscriber = $1 AND p.topic = o.topic || '/' || current_schema() AND p.partition = o.partition AND o."offset" <= p.committed_offset
		AND o.created_at < clock_timestamp() - $2 * interval '1 millisecond'
		AND o."offset" < (SELECT max(n."offset") FROM outbox n WHERE n.topic = o.topic AND n.partition = o.partition)`
	}
	if _, err := s.db.ExecContext(ctx, text, s.module, s.t.cfg.KeepCommands.Milliseconds()); err != nil {
		return fmt.Errorf("sweep what was carried: %w", err)
	}
	return nil
}

// Incarnation says which topic the carrier has under a name. Another one than
// before means that what was carried is gone: then everything that is still
// there is forwarded again. Whoever handled it drops it.
func (t *Transport) Incarnation(ctx context.Context, topic, incarnation string) (again bool, err error) {
	tx, err := t.db.BeginTx(ctx, nil)
	if err != nil {
		return false, fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // after the commit it does nothing; else the first error is the one to tell
	var known string
	if err := tx.QueryRowContext(ctx, `SELECT topic_id FROM topics WHERE name = $1 FOR UPDATE`, topic).Scan(&known); err != nil {
		return false, fmt.Errorf("incarnation of %s: %w", topic, err)
	}
	if known == incarnation {
		return false, nil
	}
	if _, err := tx.ExecContext(ctx, `UPDATE topics SET topic_id = $2 WHERE name = $1`, topic, incarnation); err != nil {
		return false, fmt.Errorf("incarnation of %s: %w", topic, err)
	}
	if known != "" {
		for _, module := range t.topo.Modules() {
			if err := rewind(ctx, tx, module, topic); err != nil {
				return false, fmt.Errorf("incarnation of %s: %w", topic, err)
			}
		}
	}
	if err := tx.Commit(); err != nil {
		return false, fmt.Errorf("incarnation of %s: %w", topic, err)
	}
	t.lease.RenewSoon()
	return known != "", nil
}

// rewind makes a module's relay begin a topic again. Without an owner, whoever
// claims the partitions next learns their new positions.
func rewind(ctx context.Context, tx *sql.Tx, module, topic string) error {
	var here bool
	if err := tx.QueryRowContext(ctx, `SELECT to_regclass($1) IS NOT NULL`, module+".offsets").Scan(&here); err != nil || !here {
		return err // another database's
	}
	_, err := tx.ExecContext(ctx, fmt.Sprintf(`
		UPDATE %[1]s.offsets p SET node = NULL, committed_offset = least(p.committed_offset, CASE WHEN p.topic = $2
			THEN (SELECT coalesce(min(l."offset"), 1) - 1 FROM %[1]s.log l WHERE l.partition = p.partition)
			ELSE (SELECT coalesce(min(o."offset") - 1, p.committed_offset) FROM %[1]s.outbox o WHERE o.topic = $2 AND o.partition = p.partition) END)
		WHERE p.subscriber = $1 AND split_part(p.topic, '/', 1) = $2`, module), module+relaySuffix, topic)
	return err
}
