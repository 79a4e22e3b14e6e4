package payment

import (
	"context"

	"millrace/modules/payment/paymentapi"
	"millrace/platform/bus"
)

// handleRefund handles payment.refund. Its sender is the module that owns the
// order: delivery or consultation.
func (m *Module) handleRefund(ctx context.Context, tx *bus.Tx, c paymentapi.Refund) error {
	return m.service.refund(ctx, tx, c)
}
