package payment

import (
	"context"
	"log/slog"

	"millrace/platform/bus"
	"millrace/platform/errs"
)

// refundAnswered records how a refund's intent ended. A refusal is no end for
// ever: an operator may hand the call back, and its success then counts, unless
// another refund of the payment lives.
func (s *service) refundAnswered(ctx context.Context, tx *bus.Tx, c refundIntent, failure error) error {
	p, err := lockPayment(ctx, tx, c.TransactionKey)
	if err != nil {
		return err
	}
	r, err := readRefund(ctx, tx, c.RefundID)
	if err != nil {
		return err
	}
	if failure != nil && errs.KindOf(failure).Reaction() != errs.Dead {
		logUnanswered(ctx, "refund", c.OrderKey, failure) // unknown: one that is asked stays so and is chased
		return nil
	}
	switch r.Status {
	case refundAsked:
	case refundRefused:
		_, found, err := liveRefund(ctx, tx, p.ID)
		if err != nil || found || p.Status != completed {
			return err
		}
	default:
		return nil // a repetition
	}
	if failure != nil {
		return s.refundWasRefused(ctx, tx, p, r, failure)
	}
	p.Status, p.Refunded, r.Status, r.FailedReason = refunded, r.Amount, refundDone, ""
	if err := saveRefund(ctx, tx, p.ID, r); err != nil {
		return err
	}
	if err := savePayment(ctx, tx, p, byRefund, r.Reason); err != nil {
		return err
	}
	return tx.Publish(p.refundedEvent(r, s.now()))
}

func (s *service) refundWasRefused(ctx context.Context, tx *bus.Tx, p *payment, r *refund, failure error) error {
	reason := errs.FieldOf(failure)
	slog.ErrorContext(ctx, "the gateway refuses a refund: the money is owed; mend the cause, then hand the call back (millrace deadletters)",
		"payment_id", p.ID, "order_key", p.OrderKey, "refund_id", r.ID, "amount", r.Amount, "currency", p.Currency, "reason", reason)
	if r.Status == refundRefused && r.FailedReason == reason {
		return nil // once more, as before
	}
	p.Status, r.Status, r.FailedReason = completed, refundRefused, reason
	if err := saveRefund(ctx, tx, p.ID, r); err != nil {
		return err
	}
	return savePayment(ctx, tx, p, byRefund, "refused: "+reason)
}
