package payment

import (
	"context"
	"fmt"

	"millrace/modules/payment/attention"
	"millrace/modules/payment/paymentapi"
	"millrace/platform/bus"
)

// canceledAtProvider is the reason of a refund that was made at the provider.
const canceledAtProvider = paymentapi.ProviderCanceled

// recordReturned records money that was returned at the provider. b.total is the
// sum of all parts so far; it never falls, so copies and older reports change
// nothing. A contradictory report is listed for a person.
//
// When everything was returned the payment becomes refunded. If our own refund is
// in progress it is completed too, because the provider returns money only once.
func (s *service) recordReturned(ctx context.Context, tx *bus.Tx, p *payment, r receivedResult, b returnedMoney) error {
	if b.fault != "" {
		if err := needsAttention(ctx, tx, p, b.reason, b.fault); err != nil {
			return err
		}
	}
	switch {
	case b.total <= p.Refunded:
		return nil
	case b.total < p.Captured:
		p.Refunded = b.total
		detail := fmt.Sprintf("%s: %d of %d %s went back", r.Status, b.total, p.Captured, p.Currency)
		if err := savePayment(ctx, tx, p, byProvider, detail); err != nil {
			return err
		}
		return needsAttention(ctx, tx, p, attention.PartialCancel, detail)
	}
	wanted, found, err := liveRefund(ctx, tx, p.ID)
	if err != nil {
		return err
	}
	if !found {
		if wanted, err = newRefund(p, canceledAtProvider, ""); err != nil {
			return err
		}
	}
	owed, err := endAttention(ctx, tx, p, attention.RefundRefused) // an operator made the refused refund at the provider
	if err != nil {
		return err
	}
	if !owed && p.Status != refunding {
		if err := needsAttention(ctx, tx, p, attention.ProviderRefund, string(r.Status)); err != nil {
			return err
		}
	}
	return s.completeRefund(ctx, tx, p, wanted, byProvider)
}
