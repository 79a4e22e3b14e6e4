package delivery

import (
	"cmp"
	"context"

	"millrace/modules/payment/paymentapi"
	"millrace/platform/bus"
	"millrace/platform/errs"
)

// prepareDelivery starts the delivery of a paid order of goods. A deposit has
// nothing to deliver.
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
		// An order is charged once. Somebody paid for nothing, and must look.
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

// cancelDelivery stops a parcel that has not left. One that has left, or never
// will, only remembers that the money went back.
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
	if _, stops := moves[d.State][cancel]; !stops {
		return insertHistory(ctx, tx, d, refunded, d.State, back.Reason)
	}
	if d.State == unpaid { // the refund came without its payment: keep a delivery that never starts
		d.UserID, d.PaymentID = back.UserID, back.PaymentID
	}
	d.Reason = cmp.Or(back.Reason, "the payment was refunded")
	return m.service.move(ctx, tx, &d, cancel, d.Reason)
}
