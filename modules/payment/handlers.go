package payment

import (
	"context"

	"millrace/modules/payment/paymentapi"
	"millrace/platform/bus"
)

// giveBack handles payment.refund: delivery, consultation, or whoever owns the
// order, wants the money to go back.
func (m *Module) giveBack(ctx context.Context, tx *bus.Tx, c paymentapi.Refund) error {
	return m.service.refund(ctx, tx, c)
}
