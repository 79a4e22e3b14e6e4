package payment

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/google/uuid"

	"millrace/modules/payment/paymentapi"
	"millrace/platform/bus"
)

// newRefund makes the refund of all that a payment captures; not stored yet.
func newRefund(p *payment, c paymentapi.Refund) (*refund, error) {
	id, err := uuid.NewV7()
	return &refund{ID: id, Amount: p.Amount, Reason: c.Reason, RequestID: c.RequestID, Status: refundWaiting}, err
}

const refundColumns = `r.refund_id, r.amount, r.reason, r.request_id, r.status, r.failed_reason`

func (r *refund) fields() []any {
	return []any{&r.ID, &r.Amount, &r.Reason, &r.RequestID, &r.Status, &r.FailedReason}
}

// liveRefund returns the payment's refund that was not refused. The payment is
// locked, and nobody changes a refund without that lock.
func liveRefund(ctx context.Context, tx *bus.Tx, paymentID uuid.UUID) (*refund, bool, error) {
	r := &refund{}
	err := tx.QueryRowContext(ctx, `SELECT `+refundColumns+` FROM refunds r WHERE payment_id = $1 AND status <> 'refused'`, paymentID).Scan(r.fields()...)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, false, nil
	}
	return r, err == nil, err
}

func readRefund(ctx context.Context, tx *bus.Tx, id string) (*refund, error) {
	r := &refund{}
	return r, tx.QueryRowContext(ctx, `SELECT `+refundColumns+` FROM refunds r WHERE refund_id = $1`, id).Scan(r.fields()...)
}

func saveRefund(ctx context.Context, tx *bus.Tx, paymentID uuid.UUID, r *refund) error {
	return one(tx.ExecContext(ctx, `
		INSERT INTO refunds (refund_id, payment_id, amount, reason, request_id, status, failed_reason)
		VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (refund_id) DO UPDATE
		SET status = EXCLUDED.status, failed_reason = EXCLUDED.failed_reason, asked_at = now(), updated_at = now()`,
		r.ID, paymentID, r.Amount, r.Reason, r.RequestID, r.Status, r.FailedReason))
}

// unanswered is a refund that the gateway has not answered.
type unanswered struct {
	payment *payment
	refund  *refund
}

// takeUnansweredRefunds does for refunds what takeUnanswered does for payments.
func takeUnansweredRefunds(ctx context.Context, tx *bus.Tx, after time.Duration) ([]unanswered, error) {
	rows, err := tx.QueryContext(ctx, `
		WITH r AS (
			SELECT refund_id FROM refunds
			WHERE status = 'asked' AND asked_at <= now() - $1 * interval '1 microsecond'
			ORDER BY asked_at LIMIT 50 FOR UPDATE SKIP LOCKED
		)
		UPDATE refunds SET asked_at = now() FROM r, charges c, payments p
		WHERE refunds.refund_id = r.refund_id AND c.payment_id = refunds.payment_id AND p.payment_id = refunds.payment_id
		RETURNING refunds.refund_id, refunds.amount, c.transaction_key, p.order_key, p.currency`, after.Microseconds())
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []unanswered
	for rows.Next() {
		u := unanswered{&payment{}, &refund{}}
		if err := rows.Scan(&u.refund.ID, &u.refund.Amount, &u.payment.TransactionKey, &u.payment.OrderKey, &u.payment.Currency); err != nil {
			return nil, err
		}
		all = append(all, u)
	}
	return all, rows.Err()
}

// refundIsOver tells whether the money went back, or goes by another refund:
// asking for this one would give it back twice.
func refundIsOver(ctx context.Context, db *bus.DB, id string) (over bool, err error) {
	err = db.QueryRowContext(ctx, `
		SELECT r.status NOT IN ('asked', 'refused') OR r.status = 'refused' AND EXISTS (
			SELECT 1 FROM refunds o WHERE o.payment_id = r.payment_id AND o.status <> 'refused')
		FROM refunds r WHERE r.refund_id = $1`, id).Scan(&over)
	return over, err
}
