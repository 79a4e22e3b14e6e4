package admin

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lib/pq"

	"millrace/platform/bus"
	"millrace/platform/bus/envelope"
	"millrace/platform/bus/store"
	"millrace/platform/errs"
	"millrace/platform/postgres"
)

// Switch records by which transport the messages of a database travel from now on:
// "postgres", or a bridge's name. No process may work on the database; those that
// start later must be configured for it.
//
// It is one transaction. Committed offsets of events mean the same either way.
// Commands that are not handled yet move from the owner's queue into their senders'
// outboxes, or back, in their order and with the messages that are blocked behind
// failed ones. Commands that only the bridge has are moved too, since their sender
// keeps them for KeepCommands; if they are gone there, Switch refuses, and names
// the module whose backlog must be handled first.
//
// Errors are of kind Conflict when processes live or messages are missing, and
// Invalid when a module has its tables in another database.
func Switch(ctx context.Context, url string, topo *bus.Topology, transport string) (err error) {
	defer errs.Wrap(&err, "switch to %s", transport)
	db, err := postgres.Open(ctx, postgres.Config{URL: url, Schema: "bus", MaxConns: 1, Application: "millrace switch", StatementTimeout: 5 * time.Minute})
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }() // the transaction has returned the error, if any
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after the commit it does nothing; else the first error is the one to return
	if err := alone(ctx, tx); err != nil {
		return err
	}
	for _, module := range topo.Modules() {
		var here bool
		if err := tx.QueryRowContext(ctx, `SELECT to_regclass($1) IS NOT NULL`, module+".log").Scan(&here); err != nil {
			return err
		}
		if !here {
			return errs.New(errs.Invalid, "module %s has no tables in this database: only modules that share one can change their transport", module)
		}
	}
	for _, owner := range topo.Modules() {
		move := toQueue
		if transport != store.OnPostgres {
			move = toOutbox
		}
		if err := move(ctx, tx, owner, sendersTo(topo, owner)); err != nil {
			return err
		}
	}
	if _, err := tx.ExecContext(ctx, `UPDATE topics SET transport = $1`, transport); err != nil {
		return err
	}
	return tx.Commit()
}

// alone makes sure that no process works while the registry changes.
func alone(ctx context.Context, tx *sql.Tx) error {
	if _, err := tx.ExecContext(ctx, `LOCK TABLE topics, nodes IN ACCESS EXCLUSIVE MODE`); err != nil {
		return err
	}
	var living int
	if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM nodes WHERE `+store.Living).Scan(&living); err != nil {
		return err
	}
	if living > 0 {
		return errs.New(errs.Conflict, "%d processes live on the database: end them first (one that was killed counts for as long as its lease)", living)
	}
	return nil
}

// sendersTo lists the modules that send commands to a module.
func sendersTo(topo *bus.Topology, owner string) (senders []string) {
	for _, command := range topo.Commands() {
		if topo.TopicOf(command) == bus.CommandsOf(owner) {
			senders = append(senders, topo.SendersOf(command)...)
		}
	}
	slices.Sort(senders)
	return slices.Compact(senders)
}

// before is subtracted from the offsets of parked messages when their stream
// changes, so that they come before all that arrives in the new stream.
const before = int64(1) << 40

// toOutbox moves what waits in an owner's queue into its senders' outboxes.
func toOutbox(ctx context.Context, tx *sql.Tx, owner string, senders []string) error {
	topic := bus.CommandsOf(owner)
	waiting, err := waitingOf(ctx, tx, owner, topic)
	if err != nil {
		return err
	}
	var strangers []string
	for source := range waiting {
		if !slices.Contains(senders, source) {
			strangers = append(strangers, fmt.Sprintf("%.100q", source))
		}
	}
	if len(strangers) > 0 {
		slices.Sort(strangers)
		return errs.New(errs.Conflict, "%s has commands of %.1000s, which sends none in this version: serve until they are handled", topic, strings.Join(strangers, ", "))
	}
	for _, sender := range senders {
		if _, err := tx.ExecContext(ctx, fmt.Sprintf(`
			INSERT INTO %[2]s.outbox (topic, partition, "offset", id, type, key, payload, metadata, created_at)
			SELECT $1, q.partition,
				coalesce((SELECT max(o."offset") FROM %[2]s.outbox o WHERE o.topic = $1 AND o.partition = q.partition), 0) + row_number() OVER (PARTITION BY q.partition ORDER BY q."offset"),
				q.id, q.type, q.key, q.payload, q.metadata, q.created_at
			FROM unnest($2::smallint[], $3::bigint[]) AS w(partition, "offset") JOIN %[1]s.queue q USING (partition, "offset")`, owner, sender),
			topic, pq.Array(waiting[sender].partitions), pq.Array(waiting[sender].offsets)); err != nil {
			return err
		}
		if err := renameOf(ctx, tx, owner, topic, topic+"/"+sender, sender); err != nil {
			return err
		}
	}
	_, err = tx.ExecContext(ctx, fmt.Sprintf(`
		UPDATE %[1]s.offsets p SET committed_offset = greatest(p.committed_offset, (SELECT coalesce(max(q."offset"), 0) FROM %[1]s.queue q WHERE q.partition = p.partition))
		WHERE p.subscriber = $1 AND p.topic = $2`, owner), owner, topic)
	return err
}

// toQueue moves what waits on its way from the senders into the owner's queue.
func toQueue(ctx context.Context, tx *sql.Tx, owner string, senders []string) error {
	topic := bus.CommandsOf(owner)
	for _, sender := range senders {
		stream := topic + "/" + sender
		waiting := fmt.Sprintf(`(
			SELECT DISTINCT ON (w.partition, w."offset") w.* FROM ( -- the sender's own rather than what stands for a lost one
				SELECT partition, "offset", id, type, key, payload, metadata, created_at FROM %[1]s.inbound WHERE topic = '%[3]s'
				UNION ALL SELECT partition, "offset", id, type, key, payload, metadata, created_at FROM %[2]s.outbox WHERE topic = '%[4]s'
			) w LEFT JOIN %[1]s.offsets p ON p.subscriber = '%[1]s' AND p.topic = '%[3]s' AND p.partition = w.partition
			WHERE w."offset" > coalesce(p.committed_offset, 0) ORDER BY w.partition, w."offset", w.type LIKE '`+store.TypeLost+`%%')`, owner, sender, stream, topic)
		var missing sql.NullString
		err := tx.QueryRowContext(ctx, fmt.Sprintf(`
			SELECT string_agg(format('%%s of partition %%s', gone, partition), ', ') FROM (
				SELECT w.partition, max(w."offset") - coalesce(max(p.committed_offset), 0) - count(*) AS gone
				FROM %[2]s w LEFT JOIN %[1]s.offsets p ON p.subscriber = '%[1]s' AND p.topic = '%[3]s' AND p.partition = w.partition
				GROUP BY w.partition) g WHERE gone > 0`, owner, waiting, stream)).Scan(&missing)
		if err != nil {
			return err
		}
		if missing.Valid {
			return errs.New(errs.Conflict, "%s has commands that only the bridge still has (%s): serve until they have arrived", stream, missing.String)
		}
		if _, err := tx.ExecContext(ctx, fmt.Sprintf(`
			INSERT INTO %[1]s.queue (partition, "offset", id, type, key, payload, metadata, created_at)
			SELECT w.partition, coalesce((SELECT max(q."offset") FROM %[1]s.queue q WHERE q.partition = w.partition), 0) + row_number() OVER (PARTITION BY w.partition ORDER BY w."offset"),
				w.id, w.type, w.key, w.payload, w.metadata, w.created_at FROM %[2]s w`, owner, waiting)); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, fmt.Sprintf(`
			UPDATE %[1]s.offsets p SET committed_offset = greatest(p.committed_offset,
				(SELECT coalesce(max(o."offset"), 0) FROM %[2]s.outbox o WHERE o.topic = $2 AND o.partition = p.partition),
				(SELECT coalesce(max(i."offset"), 0) FROM %[1]s.inbound i WHERE i.topic = $1 AND i.partition = p.partition))
			WHERE p.subscriber = '%[1]s' AND p.topic = $1`, owner, sender), stream, topic); err != nil {
			return err
		}
		if err := rename(ctx, tx, owner, stream, topic); err != nil {
			return err
		}
	}
	// Events that arrived stay. They are in their owner's log, too, but the bridge
	// would not receive them again if the database switches back.
	return nil
}

// rename moves the parked messages of one stream to another, before all that arrives in it.
func rename(ctx context.Context, tx *sql.Tx, owner, from, to string) error {
	_, err := tx.ExecContext(ctx, `UPDATE `+owner+`.parked_messages SET topic = $2, "offset" = "offset" - $3 WHERE topic = $1 AND state <> 'discarded'`, from, to, before)
	return err
}

// renameOf is rename for what one sender sent.
func renameOf(ctx context.Context, tx *sql.Tx, owner, from, to, sender string) error {
	var ids []int64
	err := eachSource(ctx, tx, `SELECT id, 0, metadata FROM `+owner+`.parked_messages WHERE topic = $1 AND state <> 'discarded'`, []any{from}, func(id, _ int64, source string) {
		if source == sender {
			ids = append(ids, id)
		}
	})
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `UPDATE `+owner+`.parked_messages SET topic = $1, "offset" = "offset" - $2 WHERE id = ANY($3)`, to, before, pq.Array(ids))
	return err
}

// places are partitions and, at the same index, offsets.
type places struct{ partitions, offsets []int64 }

// waitingOf reads where in an owner's queue the commands are that it has not handled, by
// the module that sent them; "" is for those whose metadata does not name any.
func waitingOf(ctx context.Context, tx *sql.Tx, owner, topic string) (map[string]places, error) {
	all := map[string]places{}
	err := eachSource(ctx, tx, fmt.Sprintf(`
		SELECT q.partition, q."offset", q.metadata FROM %[1]s.queue q
		LEFT JOIN %[1]s.offsets p ON p.subscriber = $1 AND p.topic = $2 AND p.partition = q.partition
		WHERE q."offset" > coalesce(p.committed_offset, 0)`, owner), []any{owner, topic}, func(partition, offset int64, source string) {
		at := all[source]
		all[source] = places{append(at.partitions, partition), append(at.offsets, offset)}
	})
	return all, err
}

// eachSource reads two numbers and the metadata of each row, and calls f with its sender.
// It reads the metadata here: PostgreSQL stores JSON with an escape like \u0000, but
// cannot take any value out of it, and fails the whole statement.
func eachSource(ctx context.Context, tx *sql.Tx, query string, args []any, f func(a, b int64, source string)) error {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var a, b int64
		var metadata []byte
		if err := rows.Scan(&a, &b, &metadata); err != nil {
			return err
		}
		f(a, b, store.DecodeMetadata(metadata)[envelope.Source])
	}
	return rows.Err()
}
