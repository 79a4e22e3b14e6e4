package demo

import (
	"context"
	"fmt"
	"strings"

	"github.com/lib/pq"

	"millrace/platform/bus"
	"millrace/platform/bus/store"
)

// effectsAreSingle finds inboxes without a unique constraint on the message, and
// effects that happened twice.
func effectsAreSingle(ctx context.Context, e *evidence) ([]string, error) {
	all, err := askFor(ctx, e.db, nil, `
		SELECT format('%s.inbox has no unique index on the message''s id, the subscriber and the topic', m.name) FROM unnest($1::text[]) AS m(name)
		WHERE NOT EXISTS (
			SELECT 1 FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid JOIN pg_namespace n ON n.oid = t.relnamespace
			WHERE n.nspname = m.name AND t.relname = 'inbox' AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indnkeyatts = 3
				AND pg_get_indexdef(i.indexrelid, 1, true) = 'message_id' AND pg_get_indexdef(i.indexrelid, 2, true) = 'subscriber'
				AND pg_get_indexdef(i.indexrelid, 3, true) = 'split_part(topic, ''/''::text, 1)')`, pq.Array(e.topo.Modules()))
	if err != nil {
		return nil, err
	}
	doubled, err := doubledEffects(ctx, e)
	return append(all, doubled...), err
}

// doubledEffects finds effects that happened more than once.
func doubledEffects(ctx context.Context, e *evidence) ([]string, error) {
	twice := func(what, key, table, where string) string {
		return fmt.Sprintf(`SELECT format('%s of %%s: %%s of them', %s, count(*)) FROM %s WHERE %s GROUP BY %s HAVING count(*) > 1`, what, key, table, where, key)
	}
	var inboxes []string
	for _, module := range e.topo.Modules() {
		inboxes = append(inboxes, twice("inbox row in "+module, "message_id::text || ' of ' || split_part(topic, '/', 1) || ' for ' || subscriber", module+".inbox", "true"))
	}
	return sentences(ctx, e.db, append(inboxes,
		twice("delivery", "order_key", "delivery.deliveries", "true"),
		twice("parcel", "delivery_id::text", "delivery.history", "action = 'ship'"),
		twice("handling of the same message by delivery", "cause_id::text", "delivery.history", "cause_id IS NOT NULL"),
		twice("notification for the same message", "cause_id::text || ' ' || cause_type", "notification.notifications", "true"),
		twice("notification of a payment", "subject || ' by ' || template", "notification.notifications", "template LIKE 'payment\\_%' OR template LIKE 'delivery\\_%'"),
		twice("record", "message_id::text || ' of ' || topic", "dataplatform.record", "true"),
		twice("card for the same move", "cause_id::text", "inquiry.entry", "cause_id IS NOT NULL"),
		twice("deposit", "payment_id::text", "consultation.deposit", "true"),
		twice("capture", "payment_id::text", "payment.payment_history", "status = 'completed' AND cause IN ('callback', 'answer', 'lookup')"),
		twice("refund", "payment_id::text", "payment.refunds", "status = 'done'"),
		twice("event", "id::text", "("+logs(e.topo.Modules())+") l", "true"),
	)...)
}

// logs is SQL for the events of all modules.
func logs(modules []string) string {
	parts := make([]string, len(modules))
	for i, module := range modules {
		parts[i] = fmt.Sprintf(`SELECT id, type, key, payload FROM %s.log`, module)
	}
	return strings.Join(parts, " UNION ALL ")
}

// effect describes what a subscriber must have done for each message of some types.
type effect struct {
	subscriber, topic string
	types             string // an SQL list
	must              string // an SQL condition on message m, besides its type
	has               string // an SQL query of the ids of messages that had the effect
}

// cardOf is an SQL condition: message m is about a move for which the chat shows a
// card. The pairs repeat the product's table of cards.
const cardOf = `(convert_from(m.payload, 'UTF8')::jsonb->>'stateTransition', convert_from(m.payload, 'UTF8')::jsonb->>'stateTransitionActor') IN (` + cardPairs + `)`

const cardPairs = `('CONSULTATION_RECEIVED', 'MEMBER'), ('CONSULTATION_FIXED', 'HOSPITAL'), ('RESERVATION_CHANGED', 'MEMBER'),
	('RESERVATION_CHANGED', 'HOSPITAL'), ('CONSULTATION_CANCELED', 'HOSPITAL'), ('CONSULTATION_CANCELED', 'MEMBER')`

const kindOf = `convert_from(m.payload, 'UTF8')::jsonb->>'orderKind'`

var effects = []effect{
	{"delivery", "payment.events", `'payment.completed', 'payment.refunded'`, kindOf + ` = 'goods'`, `SELECT cause_id FROM delivery.history WHERE cause_id IS NOT NULL`},
	{"notification", "payment.events", `'payment.completed', 'payment.failed', 'payment.refunded'`, `true`, `SELECT cause_id FROM notification.notifications`},
	{"notification", "delivery.events", `'delivery.shipped', 'delivery.delivered'`, `true`, `SELECT cause_id FROM notification.notifications`},
	{"notification", "notification.commands", `'notification.send'`, `true`, `SELECT cause_id FROM notification.notifications`},
	{"inquiry", "consultation.events", `'consultation.created', 'consultation.changed'`, cardOf, `SELECT cause_id FROM inquiry.entry WHERE cause_id IS NOT NULL`},
	{"consultation", "payment.events", `'payment.completed'`, kindOf + ` = 'deposit'`, `
		SELECT l.id FROM payment.log l JOIN consultation.deposit d ON d.payment_id::text = convert_from(l.payload, 'UTF8')::jsonb->>'paymentId' WHERE l.type = 'payment.completed'`},
	{"consultation", "payment.events", `'payment.refunded'`, kindOf + ` = 'deposit'`, `
		SELECT l.id FROM payment.log l JOIN consultation.deposit d ON d.payment_id::text = convert_from(l.payload, 'UTF8')::jsonb->>'paymentId' AND d.state = 'refunded' WHERE l.type = 'payment.refunded'`},
	{"payment", "payment.commands", `'payment.refund'`, `true`, `
		SELECT q.id FROM {payment.commands} q JOIN payment.payments p ON p.order_key = q.key JOIN payment.refunds r USING (payment_id)`},
}

// swept reports whether the stream's messages are deleted some time after they were
// handled.
func swept(stream string) bool { return !strings.HasSuffix(stream, ".events") }

// tables replaces each topic's name in braces in a query by a subquery on the tables
// that hold the topic's messages.
func tables(query string, topo *bus.Topology) string {
	parts := map[string][]string{}
	for _, kept := range store.Everything(topo) {
		parts[kept.Topic] = append(parts[kept.Topic], `SELECT id, partition, "offset", type, key, payload FROM `+kept.Table)
	}
	for topic, of := range parts {
		query = strings.ReplaceAll(query, "{"+topic+"}", "("+strings.Join(of, " UNION ALL ")+")")
	}
	return query
}

// inboxesHaveEffects finds inbox rows without the effect, effects without an inbox
// row, and inbox rows of messages that are parked or do not exist.
func inboxesHaveEffects(ctx context.Context, e *evidence) ([]string, error) {
	all := effects
	for _, h := range subscriptions(e.topo) {
		if h.subscriber == "dataplatform" {
			all = append(all[:len(all):len(all)], effect{h.subscriber, h.topic, "'" + strings.Join(h.types, "', '") + "'", "true", `SELECT message_id FROM dataplatform.record`})
		}
	}
	var queries []string
	for _, x := range all {
		queries = append(queries, fmt.Sprintf(`
			SELECT format('%[1]s: %%s %%s of %%s has %%s', m.type, m.id, m.key, CASE WHEN i.message_id IS NULL THEN 'its effect and no inbox row' ELSE 'an inbox row and no effect' END)
			FROM {%[2]s} m LEFT JOIN %[1]s.inbox i ON i.subscriber = '%[1]s' AND i.message_id = m.id AND split_part(i.topic, '/', 1) = '%[2]s'
			LEFT JOIN (SELECT DISTINCT id FROM (%[5]s) AS h(id)) h ON h.id = m.id
			WHERE m.type IN (%[3]s) AND %[4]s AND (i.message_id IS NULL) <> (h.id IS NULL)`, x.subscriber, x.topic, x.types, x.must, x.has))
		queries[len(queries)-1] = tables(queries[len(queries)-1], e.topo)
	}
	for _, h := range subscriptions(e.topo) {
		queries = append(queries, fmt.Sprintf(`
			SELECT format('%[1]s: the inbox has %%s of %[3]s, and no such message is there', i.message_id)
			FROM %[1]s.inbox i LEFT JOIN (SELECT * FROM %[2]s) m ON m.partition = i.partition AND m."offset" = i."offset" AND m.id = i.message_id
			WHERE i.subscriber = '%[1]s' AND i.topic = '%[3]s' AND m.id IS NULL
				AND i."offset" >= (SELECT coalesce(min("offset"), 1) FROM %[2]s WHERE partition = i.partition AND %[4]t)`, h.subscriber, h.table, h.topic, swept(h.topic)))
	}
	for _, module := range e.topo.Modules() {
		queries = append(queries, fmt.Sprintf(`
			SELECT format('%[1]s: %%s %%s of %%s is %%s, and has an inbox row', a.type, a.message_id, a.key, a.state)
			FROM %[1]s.parked_messages a JOIN %[1]s.inbox i ON i.subscriber = a.subscriber AND i.message_id = a.message_id
				AND split_part(i.topic, '/', 1) = split_part(a.topic, '/', 1) WHERE a.state <> 'discarded'`, module))
	}
	// A notification, card or record whose message was never published.
	queries = append(queries, fmt.Sprintf(`
		SELECT format('%%s has the cause %%s, which no module published', x.what, x.cause_id) FROM (
			SELECT 'notification ' || id AS what, cause_id FROM notification.notifications WHERE cause_type <> 'notification.send'
			UNION ALL SELECT 'card ' || id, cause_id FROM inquiry.entry WHERE cause_id IS NOT NULL
			UNION ALL SELECT 'record', message_id FROM dataplatform.record
			UNION ALL SELECT 'delivery ' || delivery_id, cause_id FROM delivery.history WHERE cause_id IS NOT NULL
		) x LEFT JOIN (%s) l ON l.id = x.cause_id WHERE l.id IS NULL`, logs(e.topo.Modules())))
	return sentences(ctx, e.db, queries...)
}
