package demo

import (
	"context"
	"fmt"

	"millrace/platform/bus/store"
)

// orderIsKept finds gaps in offsets, messages that took effect out of order or past a
// dead letter, cards that are not in the order of the moves, and broken links
// between history rows.
func orderIsKept(ctx context.Context, e *evidence) ([]string, error) {
	var queries []string
	for _, kept := range store.Everything(e.topo) {
		first := "1"
		if swept(kept.Stream) { // handled commands are deleted, oldest first
			first = `min("offset")`
		}
		queries = append(queries,
			fmt.Sprintf(`SELECT format('%[1]s, partition %%s: offsets %%s to %%s, and %%s rows', partition, min("offset"), max("offset"), count(*))
				FROM %[2]s GROUP BY partition HAVING min("offset") <> %[3]s OR count(*) <> max("offset") - %[3]s + 1`, kept.Stream, kept.Table, first))
	}
	for _, h := range subscriptions(e.topo) {
		queries = append(queries,
			fmt.Sprintf(`SELECT format('%[1]s handled offset %%s of %[3]s, partition %%s, key %%s, before an earlier one', o."offset", o.partition, o.key) FROM (
					SELECT i.partition, i."offset", m.key, i.handled_at, max(i.handled_at) OVER (
						PARTITION BY i.partition, m.key ORDER BY i."offset" ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS earlier
					FROM %[1]s.inbox i JOIN (SELECT * FROM %[2]s) m ON m.partition = i.partition AND m."offset" = i."offset"
					WHERE i.subscriber = '%[1]s' AND i.topic = '%[3]s'
				) o WHERE o.earlier > o.handled_at`, h.subscriber, h.table, h.topic),
			fmt.Sprintf(`SELECT format('%[1]s handled offset %%s of %[3]s, partition %%s, key %%s, though %%s is %%s', i."offset", i.partition, m.key, a."offset", a.state)
				FROM %[1]s.parked_messages a JOIN (SELECT * FROM %[2]s) m ON m.partition = a.partition AND m.key = a.key AND m."offset" > a."offset"
				JOIN %[1]s.inbox i ON i.subscriber = a.subscriber AND i.topic = a.topic AND i.partition = m.partition AND i."offset" = m."offset"
				WHERE a.subscriber = '%[1]s' AND a.topic = '%[3]s' AND a.state <> 'discarded'`, h.subscriber, h.table, h.topic))
	}
	queries = append(queries,
		// The cards of a room must be the moves that have a card, in order.
		`WITH due AS (
			SELECT consultation_id, array_agg(transition || ' by ' || actor ORDER BY position) AS moves FROM consultation.history
			WHERE (transition, actor) IN (`+cardPairs+`) GROUP BY 1
		), shown AS (
			SELECT r.consultation_id, array_agg(e.transition || ' by ' || e.actor ORDER BY e.position) AS cards
			FROM inquiry.entry e JOIN inquiry.room r ON r.id = e.room_id WHERE e.card IS NOT NULL GROUP BY 1
		)
		SELECT format('consultation %s: moves with a card %s, cards %s', consultation_id, due.moves, shown.cards)
		FROM due FULL JOIN shown USING (consultation_id) WHERE due.moves IS DISTINCT FROM shown.cards`,
		`SELECT format('room of consultation %s: positions 1 to %s, and %s entries', r.consultation_id, r.last_position, count(e.id))
		FROM inquiry.room r LEFT JOIN inquiry.entry e ON e.room_id = r.id GROUP BY r.id
		HAVING count(e.id) <> r.last_position OR max(e.position) <> count(e.id)`,
		`SELECT format('consultation %s, move %s: from %s, but the one before went to %s', consultation_id, position, from_status, before) FROM (
			SELECT *, lag(to_status) OVER w AS before, lag(position) OVER w AS previous FROM consultation.history
			WINDOW w AS (PARTITION BY consultation_id ORDER BY position)
		) h WHERE before IS NOT NULL AND (from_status IS DISTINCT FROM before OR position <> previous + 1)
			OR before IS NULL AND position <> 1`,
		`SELECT format('consultation %s is %s after %s moves; its history ends with %s after %s', c.id, c.status, c.moves, h.last, h.n)
		FROM consultation.consultation c, LATERAL (
			SELECT count(*) AS n, (array_agg(to_status ORDER BY position DESC))[1] AS last FROM consultation.history WHERE consultation_id = c.id
		) h WHERE c.moves <> h.n OR h.last <> c.status`,
		`SELECT format('delivery %s, %s: from %s, but it was %s', delivery_id, action, from_state, before) FROM (
			SELECT *, lag(to_state) OVER (PARTITION BY delivery_id ORDER BY id) AS before FROM delivery.history
		) h WHERE from_state <> coalesce(before, '')`,
		`SELECT format('delivery of %s is %s; its history ends with %s', d.order_key, d.state, h.last)
		FROM delivery.deliveries d, LATERAL (SELECT (array_agg(to_state ORDER BY id DESC))[1] AS last FROM delivery.history WHERE delivery_id = d.id) h
		WHERE h.last IS DISTINCT FROM d.state`,
		`SELECT format('payment of %s is %s, %s captured, %s refunded; its history ends with %s, %s, %s', p.order_key, p.status, p.captured, p.refunded, h.status, h.captured, h.refunded)
		FROM payment.payments p LEFT JOIN LATERAL (SELECT * FROM payment.payment_history WHERE payment_id = p.payment_id ORDER BY history_id DESC LIMIT 1) h ON true
		WHERE (h.status, h.captured, h.refunded) IS DISTINCT FROM (p.status, p.captured, p.refunded)`,
		`SELECT format('payment %s went from %s to %s', payment_id, before, status) FROM (
			SELECT *, lag(status) OVER (PARTITION BY payment_id ORDER BY history_id) AS before FROM payment.payment_history
		) h WHERE (coalesce(before, ''), status) NOT IN (('', 'pending'), ('pending', 'completed'), ('pending', 'failed'),
			('completed', 'refunding'), ('refunding', 'refunded'), ('refunding', 'completed'),
			('failed', 'completed'), ('failed', 'refunding'), -- the charge succeeded after all
			('completed', 'refunded'), ('completed', 'completed'), ('refunding', 'refunding'))`) // money went back at the provider
	return sentences(ctx, e.db, queries...)
}
