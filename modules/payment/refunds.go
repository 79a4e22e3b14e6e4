package payment

import (
	"context"
	"database/sql"
	"errors"

	"github.com/google/uuid"

	"millrace/platform/bus"
)

// newRefund returns a refund, not stored yet, of the amount that the payment
// holds. For a payment without a capture it is the whole amount.
func newRefund(p *payment, reason, requestID string) (*refund, error) {
	id, err := uuid.NewV7()
	amount := p.Amount
	if p.Captured > 0 {
		amount = p.Captured - p.Refunded
	}
	return &refund{ID: id, Amount: amount, Reason: reason, RequestID: requestID, Status: refundWaiting}, err
}

const refundColumns = `r.refund_id, r.amount, r.reason, r.request_id, r.status, r.failed_reason, r.checks`

func (r *refund) fields() []any {
	return []any{&r.ID, &r.Amount, &r.Reason, &r.RequestID, &r.Status, &r.FailedReason, &r.Checks}
}

// liveRefund returns the payment's refund that was not refused, if there is one.
// The caller must hold the payment's lock.
func liveRefund(ctx context.Context, tx *bus.Tx, paymentID uuid.UUID) (*refund, bool, error) {
	r := &refund{}
	err := tx.QueryRowContext(ctx, `SELECT `+refundColumns+` FROM refunds r WHERE payment_id = $1 AND status <> 'refused'`, paymentID).Scan(r.fields()...)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, false, nil
	}
	return r, err == nil, err
}

// lockRefund locks the payment of a refund and returns both.
func lockRefund(ctx context.Context, tx *bus.Tx, c refundCall) (*payment, *refund, error) {
	p, err := lockPayment(ctx, tx, c.TransactionKey)
	if err != nil {
		return nil, nil, err
	}
	r := &refund{}
	return p, r, tx.QueryRowContext(ctx, `SELECT `+refundColumns+` FROM refunds r WHERE refund_id = $1`, c.RefundID).Scan(r.fields()...)
}

func saveRefund(ctx context.Context, tx *bus.Tx, paymentID uuid.UUID, r *refund) error {
	return changeOne(tx.ExecContext(ctx, `
		INSERT INTO refunds (refund_id, payment_id, amount, reason, request_id, status, failed_reason, attempted_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, NULL)
		ON CONFLICT (refund_id) DO UPDATE
		SET amount = EXCLUDED.amount, status = EXCLUDED.status, failed_reason = EXCLUDED.failed_reason, asked_at = now(), updated_at = now()`,
		r.ID, paymentID, r.Amount, r.Reason, r.RequestID, r.Status, r.FailedReason))
}
