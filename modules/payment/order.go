package payment

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"millrace/modules/payment/attention"
	"millrace/modules/payment/paymentapi"
	"millrace/platform/bus"
	"millrace/platform/errs"
)

// duplicateCharge is the reason of a refund whose charge succeeded late while the
// order already had another payment.
const duplicateCharge = paymentapi.DuplicateCharge

// lockOrder serializes the decision which payment an order has. To avoid a
// deadlock, a transaction that waits for this lock may have locked rows of a
// failed payment only, and the holder never waits for rows of a pending or failed
// payment.
func lockOrder(ctx context.Context, tx *bus.Tx, orderKey string) error {
	_, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('payment of ' || $1, 0))`, orderKey)
	return err
}

// releaseRefunded allows a deposit to be paid again after a full refund. It
// renames the order key of the refunded payment, because a consultation keeps one
// order key. Goods are not affected: a new order of goods has a new key.
func releaseRefunded(ctx context.Context, tx *bus.Tx, kind paymentapi.OrderKind, orderKey string) error {
	if kind != paymentapi.Deposit {
		return nil
	}
	_, err := tx.ExecContext(ctx, `
		UPDATE payments SET released_order_key = order_key, order_key = 'released-' || payment_id
		WHERE order_key = $1 AND order_kind = 'deposit' AND status = 'refunded'`, orderKey)
	return err
}

// lateSuccess handles a charge that succeeded after its payment had failed. If
// the order has no other open or successful payment, this payment is completed.
// Otherwise its charge is refunded. Both cases are listed for a person.
func (s *service) lateSuccess(ctx context.Context, tx *bus.Tx, p *payment, r receivedResult, chosen strategy) error {
	if err := lockOrder(ctx, tx, p.OrderKey); err != nil {
		return err
	}
	if err := releaseRefunded(ctx, tx, p.OrderKind, p.OrderKey); err != nil {
		return err
	}
	failure := p.FailedReason
	other, occupied, err := occupant(ctx, tx, p.OrderKey)
	if err != nil {
		return err
	}
	if !occupied {
		if err := chosen.settle(ctx, tx, s, p, r); errs.KindOf(err) == errs.Conflict {
			return errs.As(errs.Contention, err) // a process of an earlier version paid the order concurrently: retry
		} else if err != nil {
			return err
		}
		return needsAttention(ctx, tx, p, attention.LateSuccess, "it had failed: "+failure)
	}
	p.Status, p.Captured, p.FailedReason, p.Released = refunding, p.Amount, "", true
	if err := savePayment(ctx, tx, p, r.source.cause(), string(r.Status)+": the order has payment "+other.String()); err != nil {
		return err
	}
	if err := needsAttention(ctx, tx, p, attention.DuplicateCharge, "it had failed: "+failure+"; the order has payment "+other.String()); err != nil {
		return err
	}
	wanted, found, err := liveRefund(ctx, tx, p.ID)
	if err != nil {
		return err
	}
	if !found {
		if wanted, err = newRefund(p, duplicateCharge, ""); err != nil {
			return err
		}
	}
	return s.startRefund(ctx, tx, p, wanted)
}

// occupant returns the order's payment that is open or captured, if there is one.
func occupant(ctx context.Context, tx *bus.Tx, orderKey string) (id uuid.UUID, found bool, err error) {
	err = tx.QueryRowContext(ctx, `SELECT payment_id FROM payments WHERE order_key = $1 AND status <> 'failed'`, orderKey).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return id, false, nil
	}
	return id, err == nil, err
}

// whyNotPayable returns the reason why an order cannot be paid now, or "". An
// order also stays closed while a charge that succeeded late is being refunded.
func whyNotPayable(ctx context.Context, tx *bus.Tx, orderKey string) (string, error) {
	var p payment
	err := tx.QueryRowContext(ctx, `
		SELECT payment_id, order_kind, status, captured, refunded, currency, released_order_key IS NOT NULL FROM payments
		WHERE order_key = $1 AND status <> 'failed' OR released_order_key = $1 AND status = 'refunding'
		ORDER BY released_order_key IS NOT NULL, payment_id LIMIT 1`, orderKey).
		Scan(&p.ID, &p.OrderKind, &p.Status, &p.Captured, &p.Refunded, &p.Currency, &p.Released)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	switch {
	case p.Released:
		return fmt.Sprintf("payment %s of this order succeeded late and is being refunded: pay again when it has gone back", p.ID), nil
	case p.Status == pending:
		return fmt.Sprintf("this order is being paid by payment %s: wait for its result", p.ID), nil
	case p.Status == refunded:
		return fmt.Sprintf("this order was paid, and refunded, by payment %s: a new order needs a new key", p.ID), nil
	case p.Status == refunding && p.OrderKind == paymentapi.Deposit:
		return fmt.Sprintf("payment %s of this deposit is being refunded: pay again when it has gone back", p.ID), nil
	case p.Status == refunding:
		return fmt.Sprintf("this order was paid by payment %s, which is being refunded: a new order needs a new key", p.ID), nil
	case p.Refunded > 0:
		return fmt.Sprintf("this order was paid by payment %s, of which %d of %d %s (minor units) went back: it cannot be paid again", p.ID, p.Refunded, p.Captured, p.Currency), nil
	}
	return fmt.Sprintf("this order was paid by payment %s: a new order needs a new key", p.ID), nil
}

// refundable returns the transaction key of the payment to refund: the payment
// that the command names, or else the order's payment that is open or captured.
func refundable(ctx context.Context, tx *bus.Tx, c paymentapi.Refund) (key string, err error) {
	err = tx.QueryRowContext(ctx, `
		SELECT c.transaction_key FROM payments p JOIN charges c USING (payment_id)
		WHERE (p.order_key = $1 OR p.released_order_key = $1)
		  AND CASE WHEN $2 = '' THEN p.released_order_key IS NULL AND p.status <> 'failed' ELSE p.payment_id::text = lower($2) END`,
		c.OrderKey, c.PaymentID).Scan(&key)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nothingToRefund(c.OrderKey)
	}
	return key, err
}

func nothingToRefund(orderKey string) error {
	return errs.New(errs.NotFound, "order %s has no payment that is open or was captured: there is nothing to give back", orderKey)
}
