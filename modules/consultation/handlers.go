package consultation

import (
	"context"

	"millrace/modules/consultation/consultationapi"
	"millrace/modules/payment/paymentapi"
	"millrace/platform/bus"
)

// depositPaid records a deposit. It completes the hospital's confirmation of a
// consultation that is open, and goes back if it came after a cancellation.
func (m *Module) depositPaid(ctx context.Context, tx *bus.Tx, paid paymentapi.Completed) error {
	if paid.OrderKind != paymentapi.Deposit {
		return nil // an order of goods is delivery's
	}
	id, err := consultationOf(paid.OrderKey)
	if err != nil {
		return err
	}
	c, err := lock(ctx, tx, id)
	if err != nil {
		return err
	}
	if fresh, err := insertDeposit(ctx, tx, id, paid); err != nil || !fresh {
		return err
	}
	switch onDeposit(c.status) {
	case confirm:
		_, err = advance(ctx, tx, c, wish{to: consultationapi.Fixed, actor: consultationapi.Hospital})
		return err
	case giveBack:
		return refundDeposit(ctx, tx, id, "the deposit was paid after the consultation was "+string(c.status))
	default:
		return nil
	}
}

// depositRefunded records that a deposit went back, whoever asked for it. The
// status stays: a confirmed reservation is cancelled by people, not by money.
func (m *Module) depositRefunded(ctx context.Context, tx *bus.Tx, refunded paymentapi.Refunded) error {
	if refunded.OrderKind != paymentapi.Deposit {
		return nil
	}
	id, err := consultationOf(refunded.OrderKey)
	if err != nil {
		return err
	}
	if _, err := lock(ctx, tx, id); err != nil { // first, as in a move: the same order of locks everywhere
		return err
	}
	return recordRefund(ctx, tx, refunded)
}
