package demo

import (
	"context"
	"fmt"

	"github.com/lib/pq"
)

// handedIn finds orders and consultations of the input that are missing, or there twice.
func handedIn(ctx context.Context, e *evidence) ([]string, error) {
	all, err := askFor(ctx, e.db, nil, `
		SELECT format('order %s has %s payments, not one', o.key, count(p.payment_id))
		FROM unnest($1::text[]) AS o(key) LEFT JOIN payment.payments p ON p.order_key = o.key
		GROUP BY o.key HAVING count(p.payment_id) <> 1`, pq.Array(e.orders))
	if err != nil {
		return nil, err
	}
	return askFor(ctx, e.db, all, `
		SELECT format('there are %s consultations, and %s were raised', count(*), $1::int)
		FROM consultation.consultation HAVING count(*) <> $1::int`, e.consultations)
}

// match writes the query that compares a module's changes, rows of (id, type), with
// its events: each change must have exactly one event, and each event one change.
func match(module, which, idOfEvent, changes string) string {
	return fmt.Sprintf(`
		WITH due AS (
			SELECT type, id, count(*) AS n FROM (%s) c GROUP BY 1, 2
		), published AS (
			SELECT type, %s AS id, count(*) AS n FROM %s.log WHERE %s GROUP BY 1, 2
		)
		SELECT format('%%s %%s: %%s in the log, and %%s due', coalesce(d.type, s.type), coalesce(d.id, s.id, '(without id)'), coalesce(s.n, 0), coalesce(d.n, 0))
		FROM due d FULL JOIN published s ON s.id = d.id AND s.type = d.type
		WHERE d.n IS DISTINCT FROM s.n`, changes, idOfEvent, module, which)
}

// changesHaveEvents finds changes with no event or several, and events without a
// change.
func changesHaveEvents(ctx context.Context, e *evidence) ([]string, error) {
	return sentences(ctx, e.db,
		match("payment", "true", `convert_from(payload, 'UTF8')::jsonb->>'paymentId'`, `
			SELECT DISTINCT payment_id::text AS id, 'payment.' || status AS type FROM payment.payment_history WHERE status IN ('completed', 'failed')
			UNION ALL SELECT payment_id::text, 'payment.refunded' FROM payment.payments WHERE status = 'refunded'`),
		match("delivery", "true", `convert_from(payload, 'UTF8')::jsonb->>'deliveryId'`, `
			SELECT delivery_id::text AS id, 'delivery.' || to_state AS type FROM delivery.history
			WHERE to_state <> from_state AND to_state <> 'awaiting_address'`),
		match("notification", "true", `convert_from(payload, 'UTF8')::jsonb->>'notificationId'`, `
			SELECT id::text AS id, 'notification.' || state AS type FROM notification.notifications WHERE state IN ('sent', 'failed')`),
		match("inquiry", "true", `coalesce(convert_from(payload, 'UTF8')::jsonb->>'cardId', convert_from(payload, 'UTF8')::jsonb->>'messageId')`, `
			SELECT id::text AS id, CASE WHEN card IS NULL THEN 'inquiry.message_posted' ELSE 'inquiry.card_posted' END AS type FROM inquiry.entry`),
		match("consultation", "type = 'consultation.created'", `key`, `
			SELECT id::text AS id, 'consultation.created' AS type FROM consultation.consultation`),
		// Every move of a consultation must be in one event of either type.
		`SELECT format('consultation %s made %s moves, and %s are in its events', c.id, h.n, s.n) FROM consultation.consultation c,
			LATERAL (SELECT count(*) AS n FROM consultation.history WHERE consultation_id = c.id) h,
			LATERAL (SELECT count(*) AS n FROM consultation.log WHERE key = c.id::text AND convert_from(payload, 'UTF8')::jsonb ? 'stateTransition') s
		WHERE h.n <> s.n`,
	)
}
