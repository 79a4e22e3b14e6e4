package sqltransport

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/lib/pq"

	"millrace/platform/bus"
	"millrace/platform/bus/store"
	"millrace/platform/errs"
)

// Mark is how far a partition of a carrier is in a module's database. It moves in
// the transaction that keeps what arrived: whatever the carrier remembers, this
// one is true, also after the database was restored from a backup.
type Mark struct {
	Topic       string
	Partition   int32
	Incarnation string // of the topic: a mark in another one means nothing
	From, To    int64  // what is received begins and ends here; To is where to go on
}

// ErrBehind says that what arrived was kept, and that the marks were not where it
// begins: the database crashed or was restored meanwhile. Begin again at the marks.
var ErrBehind = errors.New("the database does not have what was received before")

// moveMarks is the part of receiveSQL that moves marks, by compare-and-set: always if $15,
// else if all rows were kept.
const moveMarks = `
marks AS (
	SELECT * FROM unnest($10::text[], $11::int[], $12::text[], $13::bigint[], $14::bigint[]) AS m(topic, partition, topic_id, was, becomes)
), moved AS (
	UPDATE checkpoints r SET "offset" = m.becomes FROM marks m
	WHERE r.topic = m.topic AND r.partition = m.partition AND r.topic_id = m.topic_id AND r."offset" >= m.was AND r."offset" < m.becomes
	AND ($15 OR (SELECT count(*) FROM kept) = cardinality($4::bigint[]))
)`

// isBehind is what receiveSQL answers of them.
const isBehind = `
EXISTS (SELECT 1 FROM marks m LEFT JOIN checkpoints r ON r.topic = m.topic AND r.partition = m.partition AND r.topic_id = m.topic_id
	WHERE r."offset" IS NULL OR r."offset" < m.was)`

// markColumns are marks as receiveSQL takes them, in one order for everybody.
func markColumns(marks []Mark) []any {
	marks = slices.SortedFunc(slices.Values(marks), func(a, b Mark) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	topics, incarnations := make([]string, len(marks)), make([]string, len(marks))
	partitions, was, becomes := make([]int64, len(marks)), make([]int64, len(marks)), make([]int64, len(marks))
	for i, m := range marks {
		topics[i], partitions[i], incarnations[i], was[i], becomes[i] = m.Topic, int64(m.Partition), m.Incarnation, m.From, m.To
	}
	return []any{pq.Array(topics), pq.Array(partitions), pq.Array(incarnations), pq.Array(was), pq.Array(becomes)}
}

// Marks returns how far each partition is that was ever received by the module.
func (t *Transport) Marks(ctx context.Context, module string) (marks []Mark, err error) {
	return t.marks(ctx, module, "")
}

func (t *Transport) marks(ctx context.Context, module, with string) (marks []Mark, err error) {
	defer errs.Wrap(&err, "how far module %s has received", module)
	db := t.carrying[module]
	if db == nil {
		return nil, errs.New(errs.Invalid, "it is not hosted here with a carrier")
	}
	rows, err := db.QueryContext(ctx, with+` SELECT topic, partition, topic_id, "offset" FROM checkpoints`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var m Mark
		if err := rows.Scan(&m.Topic, &m.Partition, &m.Incarnation, &m.To); err != nil {
			return nil, err
		}
		marks = append(marks, m)
	}
	return marks, rows.Err()
}

// Flush is as Marks, and waits until all that they cover is on the disk: no crash
// of the database server forgets it any more.
func (t *Transport) Flush(ctx context.Context, module string) (marks []Mark, err error) {
	// A commit that waits for the disk takes along what was committed before.
	return t.marks(ctx, module, `
		WITH written AS (
			UPDATE checkpoints r SET "offset" = r."offset"
			WHERE (r.topic, r.partition) = (SELECT topic, partition FROM checkpoints ORDER BY topic, partition LIMIT 1)
		)`)
}

// BeginAt sets marks to their To, where there are none, or where they are of
// another incarnation.
func (t *Transport) BeginAt(ctx context.Context, module string, marks []Mark) (err error) {
	defer errs.Wrap(&err, "where module %s begins to receive", module)
	db := t.carrying[module]
	if db == nil {
		return errs.New(errs.Invalid, "it is not hosted here with a carrier")
	}
	if len(marks) == 0 {
		return nil
	}
	args := markColumns(marks)
	_, err = db.ExecContext(ctx, `
		INSERT INTO checkpoints AS r (topic, partition, topic_id, "offset")
		SELECT * FROM unnest($1::text[], $2::int[], $3::text[], $4::bigint[])
		ON CONFLICT (topic, partition) DO UPDATE SET topic_id = excluded.topic_id, "offset" = excluded."offset"
		WHERE r.topic_id <> excluded.topic_id`, args[0], args[1], args[2], args[4])
	return err
}

// Undone tells which rows their speaker, which works on this database, does not
// know: it was restored to a time before it said them, and what it says since
// then bears their numbers.
func (t *Transport) Undone(ctx context.Context, rows []store.Row) (undone []bool, err error) {
	defer errs.Wrap(&err, "look for what was said and undone")
	undone = make([]bool, len(rows))
	bySpeaker := map[[2]string][]int{}
	for i, row := range rows {
		if row.Sequence > 0 {
			bySpeaker[[2]string{row.Topic, row.Source}] = append(bySpeaker[[2]string{row.Topic, row.Source}], i)
		}
	}
	for lane, at := range bySpeaker {
		topic, source := lane[0], lane[1]
		if !slices.Contains(t.topo.Modules(), source) {
			continue
		}
		bare, from := source+".outbox", store.OutboxOf(source, topic)
		if topic == bus.EventsOf(source) {
			bare, from = source+".log", source+".log"
		}
		var here bool
		// Tables that nobody works on are perhaps a copy: the speaker has gone elsewhere.
		if err := t.db.QueryRowContext(ctx, `SELECT coalesce(has_table_privilege(to_regclass($1), 'SELECT'), false)
			AND ($3 OR EXISTS (SELECT FROM nodes WHERE $2 = ANY(modules) AND `+store.Living+`))`,
			bare, source+relaySuffix, t.modules[source] != nil).Scan(&here); err != nil {
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
		// A row that was swept is below the newest, which never is.
		var found []bool
		if err := t.db.QueryRowContext(ctx, fmt.Sprintf(`
			SELECT array_agg(EXISTS (SELECT 1 FROM %[1]s WHERE partition = m.partition AND "offset" = m."offset" AND id <> m.id)
				OR m."offset" > coalesce((SELECT max("offset") FROM %[1]s WHERE partition = m.partition), 0) ORDER BY m.n)
			FROM unnest($1::smallint[], $2::bigint[], $3::uuid[]) WITH ORDINALITY AS m(partition, "offset", id, n)`, from),
			pq.Array(partitions), pq.Array(offsets), pq.Array(ids)).Scan(pq.Array(&found)); err != nil {
			return nil, err
		}
		for k, i := range at {
			undone[i] = found[k]
		}
	}
	return undone, nil
}
