package consultation

import (
	"context"

	"millrace/modules/consultation/consultationapi"
	"millrace/modules/payment/paymentapi"
	"millrace/platform/bus"
)

// depositWasPaid records a deposit payment. If the consultation is still open, the
// payment confirms it. If it was cancelled, the payment is refunded.
func (m *Module) depositWasPaid(ctx context.Context, tx *bus.Tx, paid paymentapi.Completed) error {
	if paid.OrderKind != paymentapi.Deposit {
		return nil // delivery handles orders of goods
	}
	id, err := consultationOf(paid.OrderKey)
	if err != nil {
		return err
	}
	c, err := lock(ctx, tx, id)
	if err != nil {
		return err
	}
	if fresh, err := recordDeposit(ctx, tx, id, paid); err != nil || !fresh {
		return err
	}
	switch onDeposit(c.status) {
	case confirm:
		_, _, err = advance(ctx, tx, c, moveRequest{to: consultationapi.Fixed, actor: consultationapi.Hospital})
		return err
	case giveBack:
		return refundDeposit(ctx, tx, id, paymentapi.DepositPaidLate)
	default:
		return nil
	}
}

// depositWasRefunded records the refund of a deposit, requested or not. It
// does not change the consultation's status: people cancel a confirmed
// reservation, not payments. It ignores the refund of a duplicate charge, which
// was never recorded as a deposit.
func (m *Module) depositWasRefunded(ctx context.Context, tx *bus.Tx, refunded paymentapi.Refunded) error {
	if refunded.OrderKind != paymentapi.Deposit || refunded.Duplicate {
		return nil
	}
	id, err := consultationOf(refunded.OrderKey)
	if err != nil {
		return err
	}
	if _, err := lock(ctx, tx, id); err != nil { // lock the consultation first, as moves do, to avoid deadlocks
		return err
	}
	return recordRefund(ctx, tx, id, refunded)
}
