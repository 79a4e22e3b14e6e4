package sqltransport

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"sync"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"millrace/platform/bus"
	"millrace/platform/bus/envelope"
	"millrace/platform/bus/store"
)

// maxJump is how far a number may be above the highest that is known of its stream
// and partition, beyond what the carrier had in between.
const maxJump = 1_000_000

// heights remembers, for each stream and partition, a number that the database has
// at least reached, so that a look into it is needed only when a number seems too high.
type heights struct {
	mu sync.Mutex
	at map[height]int64
}

type height struct {
	module, stream string
	partition      int
}

func (h *heights) raise(k height, to int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.at == nil {
		h.at = map[height]int64{}
	}
	h.at[k] = max(h.at[k], to)
}

func (h *heights) of(k height) int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.at[k]
}

// refuseJumps returns the rows with those refused whose number is too high to be
// true. Numbers have no gaps, so after n of a stream comes n+1, or the module
// finds as many of the carrier's records gone as there are numbers missing: that is
// Row.Since. Of a stream of which the module has nothing, any number may be the first.
func (t *Transport) refuseJumps(ctx context.Context, module string, rows []store.Row) ([]store.Row, error) {
	known := map[height]int64{}
	var screened []store.Row
	for i, row := range rows {
		if row.Sequence == 0 {
			continue
		}
		k := height{module, t.streamOf(row.Topic, row.Source), row.Partition}
		highest := max(known[k], t.heights.of(k))
		allowed := max(maxJump, row.Since)
		if row.Sequence-highest > allowed {
			var err error
			if highest, err = t.highest(ctx, k); err != nil {
				return nil, err
			}
			t.heights.raise(k, highest)
			highest = max(known[k], highest)
			if highest > 0 && row.Sequence-highest > allowed {
				if screened == nil {
					screened = slices.Clone(rows)
				}
				screened[i] = t.refuseRow(module, row, fmt.Sprintf("ce_sequence is %d, more than %d above %d, the highest of %s, partition %d: find out who sent it, restrict who may write to the topic, and discard it",
					row.Sequence, maxJump, highest, k.stream, k.partition))
				continue
			}
		}
		known[k] = max(known[k], row.Sequence)
	}
	if screened != nil {
		return screened, nil
	}
	return rows, nil
}

// highest reads the highest number of a stream and partition, or 0.
func (t *Transport) highest(ctx context.Context, k height) (n int64, err error) {
	err = t.carrying[k.module].QueryRowContext(ctx, `SELECT greatest(
		coalesce((SELECT committed_offset FROM offsets WHERE subscriber = $1 AND topic = $2 AND partition = $3), 0),
		coalesce((SELECT max("offset") FROM inbound WHERE topic = $2 AND partition = $3), 0))`, k.module, k.stream, k.partition).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("highest number of %s: %w", k.stream, err)
	}
	return n, nil
}

// takenSQL finds which rows that were not new are not repetitions either: another
// message has their number, or it was given up as lost. Only what is in the inbound
// table can be compared, and what an open dead letter names as lost.
const takenSQL = `
SELECT m.n - 1, coalesce(i.id::text, '') FROM unnest($2::text[], $3::smallint[], $4::bigint[], $5::uuid[]) WITH ORDINALITY AS m(topic, partition, "offset", id, n)
LEFT JOIN inbound i ON i.topic = m.topic AND i.partition = m.partition AND i."offset" = m."offset"
WHERE i.id <> m.id AND i.type NOT LIKE $6 || '%' OR (i.id IS NULL OR i.type LIKE $6 || '%') AND EXISTS (
	SELECT FROM parked_messages a WHERE a.subscriber = $1 AND a.topic = m.topic AND a.partition = m.partition AND a.state <> 'discarded'
	AND CASE WHEN a.type = $6 THEN m."offset" BETWEEN (regexp_match(a.key, '([0-9]+)-[0-9]+$'))[1]::bigint AND (regexp_match(a.key, '([0-9]+)$'))[1]::bigint END
) AND NOT EXISTS (SELECT FROM inbox b WHERE b.subscriber = $1 AND b.message_id = m.id AND split_part(b.topic, '/', 1) = split_part(m.topic, '/', 1))
ORDER BY m.n`

// taken returns those of the rows whose number another message has, or that arrived
// after their number was given up, as rows that become dead letters. An event of a
// type to which the module does not subscribe is nobody's loss.
func (t *Transport) taken(ctx context.Context, db interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}, module string, rows []store.Row) (found []store.Row, err error) {
	streams, ids := make([]string, len(rows)), make([]string, len(rows))
	partitions, offsets := make([]int64, len(rows)), make([]int64, len(rows))
	for i, row := range rows {
		streams[i], partitions[i], offsets[i], ids[i] = t.streamOf(row.Topic, row.Source), int64(row.Partition), row.Sequence, row.ID.String()
	}
	result, err := db.QueryContext(ctx, takenSQL, module, pq.Array(streams), pq.Array(partitions), pq.Array(offsets), pq.Array(ids), store.TypeLost)
	if err != nil {
		return nil, fmt.Errorf("look for numbers that were used twice: %w", err)
	}
	defer result.Close()
	for result.Next() {
		var n int
		var other string
		if err := result.Scan(&n, &other); err != nil {
			return nil, fmt.Errorf("look for numbers that were used twice: %w", err)
		}
		row := rows[n]
		if row.Topic != bus.CommandsOf(module) && !t.subscribers[module].knows(row.Type) {
			continue
		}
		why := fmt.Sprintf("its number, %d of %s, partition %d, was used by another message, %s", row.Sequence, streams[n], row.Partition, other)
		if other == "" {
			why = fmt.Sprintf("it arrived after its number, %d of %s, partition %d, had been given up as lost", row.Sequence, streams[n], row.Partition)
		}
		found = append(found, t.refuseRow(module, row, why+": find it in its sender's log, mend what it should have done, and discard it"))
	}
	return found, result.Err()
}

// refuseRow makes of a row one that becomes a dead letter: the same one, however
// often the row arrives. It is in the module's own queue, and has no number.
func (t *Transport) refuseRow(module string, row store.Row, why string) store.Row {
	stream := t.streamOf(row.Topic, row.Source)
	t.cfg.Logger.Error("record refused", "module", module, "type", row.Type, "message_id", row.ID, "stream", stream, "partition", row.Partition, "sequence", row.Sequence, "error", why)
	metadata := map[string]string{store.MetaRefused: why, store.MetaRefusedType: row.Type, store.MetaRefusedID: row.ID.String(), envelope.Source: row.Source}
	for name, value := range row.Metadata {
		if _, ours := metadata[name]; !ours {
			metadata[name] = value
		}
	}
	id := uuid.NewSHA1(uuid.NameSpaceOID, fmt.Appendf(nil, "refused %s/%d/%d/%s", stream, row.Partition, row.Sequence, row.ID))
	return store.Row{Topic: bus.CommandsOf(module), Source: row.Source, ID: id, Type: store.TypeRefused, Key: id.String(), Payload: row.Payload, Metadata: metadata}
}
