package demo

import (
	"context"
	"fmt"

	"millrace/modules/payment/gateway"
	"millrace/modules/payment/gateway/simulator"
)

// booksAgree compares our payments with the gateway's own record of charges.
func booksAgree(ctx context.Context, e *evidence) (all []string, err error) {
	blame := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	charges := map[string]simulator.Charge{}
	approved := map[string]int{}
	for _, c := range e.book.Charges {
		charges[c.TransactionKey] = c
		if c.Status == gateway.Approved {
			approved[c.OrderKey]++
		}
	}
	for order, n := range approved {
		if n > 1 {
			blame("order %s was charged %d times", order, n)
		}
	}
	rows, err := e.db.QueryContext(ctx, `
		SELECT coalesce(p.released_order_key, p.order_key), c.transaction_key, p.status, p.amount, p.captured, p.refunded, p.currency
		FROM payment.payments p JOIN payment.charges c USING (payment_id) ORDER BY 1`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var order, key, status, currency string
		var amount, captured, refunded int64
		if err := rows.Scan(&order, &key, &status, &amount, &captured, &refunded, &currency); err != nil {
			return nil, err
		}
		c, known := charges[key]
		delete(charges, key)
		var theirs int64
		if c.Status == gateway.Approved {
			theirs = c.Amount
		}
		switch {
		case !known:
			blame("order %s: the gateway knows nothing of transaction %s", order, key)
		case c.OrderKey != order || c.Amount != amount || c.Currency != currency:
			blame("order %s: asked for %d %s, the gateway has %d %s of order %s", order, amount, currency, c.Amount, c.Currency, c.OrderKey)
		case captured != theirs:
			blame("order %s is %s: captured %d here, %d at the gateway (%s)", order, status, captured, theirs, c.Status)
		case refunded != c.Refunded:
			blame("order %s is %s: refunded %d here, %d at the gateway", order, status, refunded, c.Refunded)
		}
	}
	for key, c := range charges {
		blame("the gateway has transaction %s of order %s, which is not ours", key, c.OrderKey)
	}
	return all, rows.Err()
}
