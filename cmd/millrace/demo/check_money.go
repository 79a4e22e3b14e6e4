package demo

import "context"

// moneyColumns are payment's columns with an amount of money.
const moneyColumns = `('payments', 'amount'), ('payments', 'captured'), ('payments', 'refunded'),
	('payment_history', 'captured'), ('payment_history', 'refunded'), ('refunds', 'amount')`

// moneyIsBounded finds impossible amounts, in the current rows and in every row of
// the history. It also checks that the history is complete: each row changes one
// thing, and the last row equals the payment.
func moneyIsBounded(ctx context.Context, e *evidence) ([]string, error) {
	return sentences(ctx, e.db,
		`SELECT 'payment.payments has no valid CHECK of 0 <= refunded <= captured <= amount' WHERE NOT EXISTS (
			SELECT 1 FROM pg_constraint c WHERE c.conrelid = 'payment.payments'::regclass AND c.contype = 'c' AND c.convalidated
				AND pg_get_constraintdef(c.oid) LIKE '%0 <= refunded%' AND pg_get_constraintdef(c.oid) LIKE '%refunded <= captured%'
				AND pg_get_constraintdef(c.oid) LIKE '%captured <= amount%')`,
		`SELECT format('payment.%s.%s is %s, not a whole number of minor units (bigint)', m.relation, m.name, coalesce(format_type(a.atttypid, a.atttypmod), 'missing'))
		FROM (VALUES `+moneyColumns+`) m(relation, name)
		LEFT JOIN pg_attribute a ON a.attrelid = to_regclass('payment.' || m.relation) AND a.attname = m.name AND NOT a.attisdropped
		WHERE a.atttypid IS DISTINCT FROM 'bigint'::regtype`,
		`SELECT format('payment of %s: amount %s, captured %s, refunded %s', order_key, amount, captured, refunded)
		FROM payment.payments WHERE NOT (0 <= refunded AND refunded <= captured AND captured <= amount)`,
		`SELECT format('payment of %s: after change %s of its history captured was %s, refunded %s, of %s', p.order_key, h.history_id, h.captured, h.refunded, p.amount)
		FROM payment.payment_history h JOIN payment.payments p USING (payment_id)
		WHERE NOT (0 <= h.refunded AND h.refunded <= h.captured AND h.captured <= p.amount)`,
		`SELECT format('payment of %s: change %s of its history moved captured from %s to %s and refunded from %s to %s in one', p.order_key, history_id, c, h.captured, r, h.refunded) FROM (
			SELECT *, lag(captured, 1, 0::bigint) OVER w AS c, lag(refunded, 1, 0::bigint) OVER w AS r FROM payment.payment_history
			WINDOW w AS (PARTITION BY payment_id ORDER BY history_id)
		) h JOIN payment.payments p USING (payment_id) WHERE h.captured < c OR h.refunded < r OR h.captured > c AND h.refunded > r`,
		`SELECT format('payment of %s: captured %s, refunded %s, and its history ends with %s, %s', p.order_key, p.captured, p.refunded, h.captured, h.refunded)
		FROM payment.payments p LEFT JOIN LATERAL (SELECT * FROM payment.payment_history WHERE payment_id = p.payment_id ORDER BY history_id DESC LIMIT 1) h ON true
		WHERE (h.captured, h.refunded) IS DISTINCT FROM (p.captured, p.refunded)`,
	)
}
