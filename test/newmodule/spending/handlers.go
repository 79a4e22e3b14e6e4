package spending

import (
	"context"

	"millrace/modules/payment/paymentapi"
	"millrace/platform/bus"
)

// addPayment commits the sum, the command and the offset together, or nothing.
func (m *Module) addPayment(ctx context.Context, tx *bus.Tx, paid paymentapi.Completed) error {
	var spent int64
	err := tx.QueryRowContext(ctx, `
		INSERT INTO spent (user_id, currency, amount) VALUES ($1, $2, $3)
		ON CONFLICT (user_id, currency) DO UPDATE SET amount = spent.amount + excluded.amount
		RETURNING amount`, paid.UserID, paid.Currency, paid.Amount).Scan(&spent)
	if err != nil || spent <= limit {
		return err
	}
	return tx.Send(paymentapi.Refund{OrderKey: paid.OrderKey, PaymentID: paid.PaymentID, Reason: paymentapi.OtherReason})
}

// subtractPayment takes back what addPayment added. A duplicate charge had no
// payment.completed, so nothing was added for it.
func (m *Module) subtractPayment(ctx context.Context, tx *bus.Tx, refunded paymentapi.Refunded) error {
	if refunded.Duplicate {
		return nil
	}
	_, err := tx.ExecContext(ctx, `UPDATE spent SET amount = amount - $3 WHERE user_id = $1 AND currency = $2`,
		refunded.UserID, refunded.Currency, refunded.Amount)
	return err
}
