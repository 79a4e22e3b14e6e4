package parity

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"millrace/cmd/millrace/demo"
	"millrace/platform/bus/store"
)

// names maps every generated id to a name that is the same in each run. A name is made
// from the input (order keys, the numbers of the consultations) and from the row's
// number among similar rows. Names contain other names, so a reader can compare the
// table of payments with an event about a payment.
type names struct {
	of         map[string]string
	sequence   map[string]string // message id → its offset in its sender's database
	place      map[string]string // message id → its type, and its number among the messages of its key and sender
	began, end time.Time         // times between these are moments of this run
}

var (
	uuids    = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	servers  = regexp.MustCompile(`http://127\.0\.0\.1:\d+`)
	traces   = regexp.MustCompile(`\b[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}\b`)
	words    = regexp.MustCompile(`[A-Za-z0-9]+`)
	instants = regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d(:?\d\d)?)?`)
	layouts  = []string{"2006-01-02T15:04:05Z07:00", "2006-01-02T15:04:05Z0700", "2006-01-02T15:04:05Z07", "2006-01-02T15:04:05"}
)

// zoneless are the possible offsets from UTC of a time without a zone.
var zoneless = []time.Duration{0, 9 * time.Hour}

// learn reads the names of a run's ids from its tables. Each query returns ids and their
// names; ids within these names are replaced if they already have a name.
func learn(ctx context.Context, scene demo.Scene, began time.Time) (*names, error) {
	n := &names{of: map[string]string{}, sequence: map[string]string{}, place: map[string]string{}, began: began.Add(-time.Minute), end: time.Now().Add(time.Minute)}
	queries := []string{
		`SELECT answer::json->>'consultationId', 'consultation' || substring(key FROM '[0-9]+$') FROM consultation.idempotency_keys WHERE key ~ '\ndemo-consultation-[0-9]+$'`,
		`SELECT payment_id::text, format('<payment %s of %s>', row_number() OVER (PARTITION BY coalesce(released_order_key, order_key) ORDER BY created_at, payment_id), coalesce(released_order_key, order_key)) FROM payment.payments`,
		`SELECT transaction_key, format('<charge of %s>', payment_id) FROM payment.charges`,
		`SELECT refund_id::text, format('<refund %s of %s>', row_number() OVER (PARTITION BY payment_id ORDER BY created_at, refund_id), payment_id) FROM payment.refunds`,
		`SELECT id::text, format('<delivery of %s>', order_key) FROM delivery.deliveries`,
		`SELECT tracking_number, format('<parcel of %s>', order_key) FROM delivery.deliveries WHERE tracking_number <> ''`,
		`SELECT id::text, format('<room of %s>', consultation_id) FROM inquiry.room`,
	}
	kept := store.Everything(scene.Topology)
	// Names of these messages contain names of other modules' messages, so they come last.
	slices.SortStableFunc(kept, func(a, b store.Kept) int {
		return cmp.Compare(strings.Count(a.Stream, mailed), strings.Count(b.Stream, mailed))
	})
	for _, k := range kept {
		err := each(ctx, scene.DB, func(rows *sql.Rows) error {
			var id, sequence, place string
			err := rows.Scan(&id, &sequence, &place)
			n.sequence[id], n.place[id] = sequence, place
			return err
		}, fmt.Sprintf(`SELECT id::text, "offset"::text, format('%%s %%s', type, row_number() OVER (PARTITION BY type, key, %s ORDER BY "offset")) FROM %s`, source, k.Table))
		if err != nil {
			return nil, fmt.Errorf("name the ids: %w", err)
		}
		about := `NULL::text`
		if k.Stream == mailed {
			about = `convert_from(payload, 'UTF8')::json->>'causeId'`
		}
		queries = append(queries, fmt.Sprintf(`SELECT id::text, format('<%%s %%s of %%s>', type, row_number() OVER (PARTITION BY type, key, %[1]s, %[2]s ORDER BY "offset"), coalesce(%[2]s, key)) FROM %[3]s`, source, about, k.Table))
	}
	queries = append(queries,
		`SELECT id::text, format('<notification of %s>', cause_id) FROM notification.notifications`,
		`SELECT id::text, format('<%s %s in %s>', CASE WHEN card IS NULL THEN 'message' ELSE 'card' END, row_number() OVER (PARTITION BY room_id, card IS NULL ORDER BY position), room_id) FROM inquiry.entry`)
	for _, module := range scene.Topology.Modules() {
		queries = append(queries, fmt.Sprintf(`SELECT id::text, format('<call %%s for %%s>', name, coalesce(payload->>'notificationId', payload->>'refundId', payload->>'transactionKey', key)) FROM %s.outbound_calls`, module))
	}
	for _, query := range queries {
		if err := n.add(ctx, scene.DB, query); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// mailed is a topic whose order depends on the mail server, because mails are sent
// concurrently. Its messages are named after the message that their mail is about.
const mailed = "notification.events"

// source is SQL for the module that published or sent a message.
const source = `metadata->>'ce_source'`

func (n *names) add(ctx context.Context, db *sql.DB, query string) error {
	err := each(ctx, db, func(rows *sql.Rows) error {
		var id, name string
		if err := rows.Scan(&id, &name); err != nil {
			return err
		}
		if _, known := n.of[id]; !known { // an outbound call may share the id of its payment
			n.of[id] = n.text(name)
		}
		return nil
	}, query)
	if err != nil {
		return fmt.Errorf("name the ids: %w (%s)", err, query)
	}
	return nil
}

// number replaces a message's offset if it is the one in the sender's table. Messages of
// several keys share a partition's offsets in a random order.
func (n *names) number(id, sequence string) string {
	if n.sequence[id] == sequence {
		return "<the sender's number>"
	}
	return sequence
}

// text replaces everything generated. An id without a name becomes "<an id>".
func (n *names) text(text string) string {
	if name, known := n.of[text]; known {
		return name
	}
	text = servers.ReplaceAllString(text, "<a server of the run>")
	text = traces.ReplaceAllString(text, "<trace>")
	text = uuids.ReplaceAllStringFunc(text, func(id string) string {
		if name, known := n.of[id]; known {
			return name
		}
		return "<an id>"
	})
	text = instants.ReplaceAllStringFunc(text, n.instant)
	return words.ReplaceAllStringFunc(text, func(word string) string {
		if name, known := n.of[word]; known {
			return name
		}
		return word
	})
}

// instant replaces a time during the run, and keeps any other.
func (n *names) instant(text string) string {
	for _, layout := range layouts {
		at, err := time.Parse(layout, strings.Replace(text, " ", "T", 1))
		if err != nil {
			continue
		}
		for _, ahead := range zoneless {
			if moment := at.Add(-ahead); moment.After(n.began) && moment.Before(n.end) {
				return "<a moment of the run>"
			}
			if layout != layouts[len(layouts)-1] {
				break
			}
		}
		return text
	}
	return text
}
