package parity

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"millrace/cmd/millrace/demo"
	"millrace/platform/bus/store"
)

// elsewhere are the bus's own tables. Handled messages, the wire and the dead letters
// have lines of their own; schema versions, partition assignments and messages in
// transit are not results.
var elsewhere = []string{"log", "queue", "outbox", "inbound", "checkpoints", "inbox", "parked_messages", "offsets", "flusher"}

// observed is the result of a run, line by line.
type observed struct {
	of    string // the name of the run
	lines []line
	names *names
}

// observe reads all results except the broker's records. Call it when no work is left.
func observe(ctx context.Context, of string, scene demo.Scene, began time.Time) (*observed, error) {
	n, err := learn(ctx, scene, began)
	if err != nil {
		return nil, err
	}
	o := &observed{of: of, names: n}
	for _, look := range []func(context.Context, demo.Scene) error{o.tables, o.handled, o.deadLetters, o.messages} {
		if err := look(ctx, scene); err != nil {
			return nil, err
		}
	}
	o.mails(scene)
	return o, o.book(scene)
}

func (o *observed) add(l line) { o.lines = append(o.lines, l) }

// tables adds the rows of every table of every module. A column that numbers rows by
// insertion is replaced, see places.
func (o *observed) tables(ctx context.Context, scene demo.Scene) error {
	for _, module := range scene.Topology.Modules() {
		var tables []string
		err := each(ctx, scene.DB, func(rows *sql.Rows) error {
			var table string
			err := rows.Scan(&table)
			tables = append(tables, table)
			return err
		}, `SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relname NOT LIKE '%\_version' ORDER BY 1`, module)
		if err != nil {
			return err
		}
		for _, table := range tables {
			if slices.Contains(elsewhere, table) {
				continue
			}
			l := line{name: module + "." + table}
			from, ranked := l.name+" t", ""
			if place, ok := places[l.name]; ok {
				ranked = fmt.Sprintf(", '%s', rank() OVER (PARTITION BY %s ORDER BY %[1]s)", place.column, place.within)
			}
			query := fmt.Sprintf(`SELECT to_jsonb(t) || jsonb_build_object(%s) FROM %s`, strings.TrimPrefix(ranked, ", "), from)
			err := each(ctx, scene.DB, func(rows *sql.Rows) error {
				var text []byte
				if err := rows.Scan(&text); err != nil {
					return err
				}
				r, err := o.names.row(text)
				if err == nil && l.name == "dataplatform.record" {
					err = o.names.filed(text, r)
				}
				l.rows = append(l.rows, r)
				return err
			}, query)
			if err != nil {
				return fmt.Errorf("%s: %w", l.name, err)
			}
			o.add(l)
		}
	}
	return nil
}

// places are columns that number rows in the order of insertion.
var places = map[string]struct{ column, within string }{
	"payment.payment_history": {"history_id", "payment_id"},
	"payment.gateway_results": {"result_id", "transaction_key, status"}, // one row of each; their order depends on the gateway
	"delivery.history":        {"id", "delivery_id"},
	"inquiry.entry":           {"position", "room_id, card IS NULL"},
}

// row makes a row from a JSON object.
func (n *names) row(object []byte) (row, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(object, &fields); err != nil {
		return nil, err
	}
	r := row{}
	for field, value := range fields {
		var text string
		if json.Unmarshal(value, &text) != nil {
			text = string(value)
		}
		r[field] = n.text(text)
	}
	return r, nil
}

// filed replaces a record's offset and partition if they are the message's.
func (n *names) filed(object []byte, r row) error {
	var record struct {
		ID        string `json:"message_id"`
		Key       string `json:"key"`
		Sequence  int64  `json:"sequence"`
		Partition int    `json:"partition"`
	}
	if err := json.Unmarshal(object, &record); err != nil {
		return err
	}
	r["sequence"] = n.number(record.ID, strconv.FormatInt(record.Sequence, 10))
	if record.Partition == store.PartitionOf(record.Key) {
		r["partition"] = "<the key's>"
	}
	return nil
}

// handled adds, for each subscriber, the messages that it handled, per key and sender,
// in the order of handling.
func (o *observed) handled(ctx context.Context, scene demo.Scene) error {
	for _, subscriber := range scene.Topology.Modules() {
		sequences := map[[2]string][]string{}
		var from []string
		for _, kept := range store.Everything(scene.Topology) {
			from = append(from, fmt.Sprintf(`SELECT '%s' AS topic, id, key, %s AS sender, "offset" FROM %s`, kept.Topic, source, kept.Table))
		}
		err := each(ctx, scene.DB, func(rows *sql.Rows) error {
			var id, key, sender string
			if err := rows.Scan(&id, &key, &sender); err != nil {
				return err
			}
			at := [2]string{o.names.text(sender), o.names.text(key)}
			sequences[at] = append(sequences[at], o.names.place[id])
			return nil
		}, fmt.Sprintf(`SELECT i.message_id::text, coalesce(m.key, '(gone)'), coalesce(m.sender, '(gone)') FROM %[1]s.inbox i
			LEFT JOIN (%[2]s) m ON m.id = i.message_id AND m.topic = split_part(i.topic, '/', 1) WHERE i.subscriber = '%[1]s' ORDER BY i.handled_at, i."offset"`, subscriber, strings.Join(from, " UNION ALL ")))
		if err != nil {
			return fmt.Errorf("what %s handled: %w", subscriber, err)
		}
		l := line{name: "handled by " + subscriber}
		for at, messages := range sequences {
			l.rows = append(l.rows, row{"sender": at[0], "key": at[1], "messages": strings.Join(messages, ", ")})
		}
		o.add(l)
	}
	return nil
}

func (o *observed) deadLetters(ctx context.Context, scene demo.Scene) error {
	l := line{name: "dead letters"}
	for _, module := range scene.Topology.Modules() {
		err := each(ctx, scene.DB, func(rows *sql.Rows) error {
			var object []byte
			if err := rows.Scan(&object); err != nil {
				return err
			}
			r, err := o.names.row(object)
			l.rows = append(l.rows, r)
			return err
		}, `SELECT jsonb_build_object('subscriber', subscriber, 'message', message_id, 'state', state, 'kind', kind, 'error', error) FROM `+module+`.parked_messages`)
		if err != nil {
			return fmt.Errorf("dead letters of %s: %w", module, err)
		}
	}
	o.add(l)
	return nil
}

// messages adds every message as stored in its sender's database: the message that
// PostgreSQL delivers, and that a bridge sends to the broker. Each type has a line.
func (o *observed) messages(ctx context.Context, scene demo.Scene) error {
	lines := map[string]*line{}
	for _, kept := range store.Everything(scene.Topology) {
		err := each(ctx, scene.DB, func(rows *sql.Rows) error {
			m := message{envelope: map[string]string{}}
			var metadata []byte
			var id, sequence string
			if err := rows.Scan(&id, &m.typ, &m.key, &sequence, &m.payload, &metadata); err != nil {
				return err
			}
			if err := json.Unmarshal(metadata, &m.envelope); err != nil {
				return err
			}
			// These attributes have columns of their own, and are not in the metadata.
			maps.Copy(m.envelope, map[string]string{"ce_id": id, "ce_type": m.typ, "ce_subject": m.key, "ce_partitionkey": m.key, "ce_sequence": sequence})
			o.names.spell(lines, m)
			return nil
		}, fmt.Sprintf(`SELECT id::text, type, key, "offset"::text, payload, metadata::text FROM %s`, kept.Table))
		if err != nil {
			return fmt.Errorf("messages of %s: %w", kept.Stream, err)
		}
	}
	o.addWire(lines)
	return nil
}

// mails adds the mails: recipient, subject and text.
func (o *observed) mails(scene demo.Scene) {
	l := line{name: "e-mails"}
	for _, m := range scene.Mails() {
		text, html := m.Bodies()
		l.rows = append(l.rows, row{
			"to": strings.Join(m.To, ", "), "subject": o.names.text(m.Subject), "id": o.names.text(m.MessageID),
			"text": o.names.text(text), "html": o.names.text(html),
		})
	}
	o.add(l)
}

// book adds the gateway's own record of charges.
func (o *observed) book(scene demo.Scene) error {
	book := scene.Book()
	charges, callbacks, refunds, faults := line{name: "gateway: charges"}, line{name: "gateway: callbacks"}, line{name: "gateway: refunds"}, line{name: "gateway: misbehaviours"}
	add := func(l *line, object any, leave ...string) error {
		text, err := json.Marshal(object)
		if err != nil {
			return err
		}
		r, err := o.names.row(text)
		for _, field := range leave {
			delete(r, field)
		}
		l.rows = append(l.rows, r)
		return err
	}
	for _, charge := range book.Charges {
		if err := add(&charges, charge, "callbacks"); err != nil { // callbacks have a line of their own
			return err
		}
		for _, callback := range charge.Callbacks {
			if err := add(&callbacks, callback); err != nil {
				return err
			}
			callbacks.rows[len(callbacks.rows)-1]["charge"] = o.names.text(charge.TransactionKey)
		}
	}
	for _, refund := range book.Refunds {
		if err := add(&refunds, refund); err != nil {
			return err
		}
	}
	for name, times := range book.Misbehaviours {
		faults.rows = append(faults.rows, row{"what": name, "times": strconv.Itoa(times)})
	}
	o.lines = append(o.lines, charges, callbacks, refunds, faults)
	return nil
}

// each calls read for every row of a query.
func each(ctx context.Context, db *sql.DB, read func(*sql.Rows) error, query string, args ...any) error {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := read(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
