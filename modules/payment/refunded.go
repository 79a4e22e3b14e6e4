package payment

import (
	"context"
	"log/slog"
	"strconv"

	"millrace/modules/payment/attention"
	"millrace/platform/bus"
)

// refundDone records that the gateway made a refund. It also accepts a refund
// that was refused before: an operator may retry the call. The success then
// counts, unless the payment has another live refund.
func (s *service) refundDone(ctx context.Context, tx *bus.Tx, c refundCall) error {
	p, r, err := lockRefund(ctx, tx, c)
	if err != nil {
		return err
	}
	if open, err := canStillEnd(ctx, tx, p, r); err != nil || !open {
		return err
	}
	if back := p.Refunded + r.Amount; back > p.Captured {
		// The provider returned a part in the meantime, and this refund was larger than
		// the rest.
		if err := needsAttention(ctx, tx, p, attention.Contradiction, "the provider gave back "+strconv.FormatInt(back, 10)+" of "+strconv.FormatInt(p.Captured, 10)); err != nil {
			return err
		}
	}
	return s.completeRefund(ctx, tx, p, r, byRefund)
}

// refundRefused records that the gateway finally refused a refund.
func (s *service) refundRefused(ctx context.Context, tx *bus.Tx, c refundCall, reason string) error {
	p, r, err := lockRefund(ctx, tx, c)
	if err != nil {
		return err
	}
	if open, err := canStillEnd(ctx, tx, p, r); err != nil || !open {
		return err
	}
	slog.ErrorContext(ctx, "the gateway refuses a refund: the money is owed; mend the cause, then hand the call back (millrace deadletters)",
		"payment_id", p.ID, "order_key", p.OrderKey, "refund_id", r.ID, "amount", r.Amount, "currency", p.Currency, "reason", reason)
	if r.Status == refundRefused && r.FailedReason == reason {
		return nil // the same refusal again
	}
	r.Status, r.FailedReason = refundRefused, reason
	if !p.Released { // a released payment never occupies its order again
		p.Status = completed
	}
	if err := saveRefund(ctx, tx, p.ID, r); err != nil {
		return err
	}
	if err := savePayment(ctx, tx, p, byRefund, "refused: "+reason); err != nil {
		return err
	}
	if _, err := endAttention(ctx, tx, p, attention.UnknownResult); err != nil {
		return err
	}
	if left := p.Captured - p.Refunded; r.Amount > left {
		// The provider returned a part after this refund was requested: request the rest.
		rest, err := newRefund(p, r.Reason, r.RequestID)
		if err != nil {
			return err
		}
		return s.startRefund(ctx, tx, p, rest)
	}
	return needsAttention(ctx, tx, p, attention.RefundRefused, reason)
}

// canStillEnd reports whether the refund may still be completed or refused: it was
// requested, or it was refused and the payment has no other live refund.
func canStillEnd(ctx context.Context, tx *bus.Tx, p *payment, r *refund) (bool, error) {
	if r.Status != refundRefused {
		return r.Status == refundAsked, nil // otherwise this is a repetition
	}
	_, found, err := liveRefund(ctx, tx, p.ID)
	return err == nil && !found && p.Status != refunded, err
}

// completeRefund marks the payment as fully refunded and publishes
// payment.refunded. No other function does this.
func (s *service) completeRefund(ctx context.Context, tx *bus.Tx, p *payment, r *refund, why cause) error {
	p.Status, p.Refunded, r.Status, r.FailedReason = refunded, p.Captured, refundDone, ""
	if err := saveRefund(ctx, tx, p.ID, r); err != nil {
		return err
	}
	if err := savePayment(ctx, tx, p, why, r.Reason); err != nil {
		return err
	}
	for _, over := range []attention.Reason{attention.RefundRefused, attention.UnknownResult} {
		if _, err := endAttention(ctx, tx, p, over); err != nil {
			return err
		}
	}
	return tx.Publish(p.refundedEvent(r, s.now()))
}
