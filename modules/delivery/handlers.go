package delivery

import (
	"context"

	"millrace/modules/payment/paymentapi"
	"millrace/platform/bus"
	"millrace/platform/errs"
)

// prepareDelivery starts the delivery of a paid order of goods. Deposits are
// ignored.
func (m *Module) prepareDelivery(ctx context.Context, tx *bus.Tx, paid paymentapi.Completed) error {
	if paid.OrderKind != paymentapi.Goods {
		return nil
	}
	if err := lockOrder(ctx, tx, paid.OrderKey); err != nil {
		return err
	}
	d, err := lockDelivery(ctx, tx, paid.OrderKey)
	if err != nil {
		return err
	}
	if d.State != unpaid {
		if d.PaymentID == paid.PaymentID {
			return nil
		}
		// The customer paid twice: a dead letter, because a person must look.
		return errs.New(errs.Conflict, "order %s has a delivery for payment %s, and was paid again by %s", paid.OrderKey, d.PaymentID, paid.PaymentID)
	}
	d.UserID, d.PaymentID = paid.UserID, paid.PaymentID
	where, known, err := findAddress(ctx, tx, paid.OrderKey)
	if err != nil {
		return err
	}
	if !known {
		return m.service.move(ctx, tx, &d, await, "")
	}
	return m.service.decide(ctx, tx, &d, where)
}

// cancelDelivery cancels a delivery that was not shipped. For one that was
// shipped, or that failed, it only records the refund in the history. The refund
// of another payment of the order, as of a duplicate charge, changes nothing.
func (m *Module) cancelDelivery(ctx context.Context, tx *bus.Tx, back paymentapi.Refunded) error {
	if back.OrderKind != paymentapi.Goods {
		return nil
	}
	if err := lockOrder(ctx, tx, back.OrderKey); err != nil {
		return err
	}
	d, err := lockDelivery(ctx, tx, back.OrderKey)
	if err != nil {
		return err
	}
	reason := paymentapi.RefundReason(back.Reason) // an event of another program may have any text
	if back.Duplicate || d.State != unpaid && d.PaymentID != back.PaymentID {
		return nil
	}
	if _, stops := moves[d.State][cancel]; !stops {
		if err := touch(ctx, tx, d); err != nil {
			return err
		}
		return insertHistory(ctx, tx, d, refunded, d.State, reason)
	}
	if d.State == unpaid { // the refund arrived before the payment: store a cancelled delivery, so that the payment does not start one
		d.UserID, d.PaymentID = back.UserID, back.PaymentID
	}
	d.Reason = reason
	return m.service.move(ctx, tx, &d, cancel, reason)
}
