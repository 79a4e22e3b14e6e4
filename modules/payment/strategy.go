package payment

import (
	"context"

	"millrace/modules/payment/gateway"
	"millrace/modules/payment/paymentapi"
	"millrace/platform/bus"
)

// strategy applies a gateway result to a payment that is open, or that failed
// and whose charge succeeded late. It updates the payment and publishes the event
// in the transaction that stored the result. Money that was returned is recorded
// afterwards; see [service.recordReturned].
type strategy interface {
	settle(ctx context.Context, tx *bus.Tx, s *service, p *payment, r receivedResult) error
	// verdict is stored with the result.
	verdict() verdict
}

// pair selects a strategy.
type pair struct {
	kind   paymentapi.OrderKind
	status gateway.Status
}

// strategies maps each pair to its strategy. There is no default: a result
// without a strategy is stored and listed, and does not change the payment.
var strategies = map[pair]strategy{
	{paymentapi.Goods, gateway.Pending}:         wait{},
	{paymentapi.Goods, gateway.Approved}:        capture{},
	{paymentapi.Goods, gateway.Declined}:        reject{"declined"},
	{paymentapi.Goods, gateway.Canceled}:        reject{"canceled"},
	{paymentapi.Goods, gateway.Expired}:         reject{"expired"},
	{paymentapi.Goods, gateway.Refused}:         reject{"refused"},
	{paymentapi.Goods, gateway.PartialCanceled}: capture{}, // captured, then partly refunded
	{paymentapi.Goods, gateway.Refunded}:        capture{}, // captured, then refunded

	{paymentapi.Deposit, gateway.Pending}:         wait{},
	{paymentapi.Deposit, gateway.Approved}:        capture{},
	{paymentapi.Deposit, gateway.Declined}:        reject{"declined"},
	{paymentapi.Deposit, gateway.Canceled}:        reject{"canceled"},
	{paymentapi.Deposit, gateway.Expired}:         reject{"expired"},
	{paymentapi.Deposit, gateway.Refused}:         reject{"refused"},
	{paymentapi.Deposit, gateway.PartialCanceled}: capture{}, // captured, then partly refunded
	{paymentapi.Deposit, gateway.Refunded}:        capture{}, // captured, then refunded
}

// wait leaves the payment open: the gateway accepted the charge and has no result
// yet.
type wait struct{}

func (wait) verdict() verdict                                                          { return noted }
func (wait) settle(context.Context, *bus.Tx, *service, *payment, receivedResult) error { return nil }

// capture completes the payment. It then starts a refund that was requested
// before the capture, even if the refund was dropped when the payment failed.
type capture struct{}

func (capture) verdict() verdict { return settled }

func (capture) settle(ctx context.Context, tx *bus.Tx, s *service, p *payment, r receivedResult) error {
	p.Status, p.Captured, p.FailedReason = completed, p.Amount, ""
	if err := savePayment(ctx, tx, p, r.source.cause(), string(r.Status)); err != nil {
		return err
	}
	if err := tx.Publish(p.completedEvent(s.now())); err != nil {
		return err
	}
	early, found, err := liveRefund(ctx, tx, p.ID)
	if err != nil || !found {
		return err
	}
	return s.startRefund(ctx, tx, p, early)
}

// reject fails the payment and drops a refund that was requested before.
type reject struct {
	reason string // used if the gateway gives no reason
}

func (reject) verdict() verdict { return settled }

func (j reject) settle(ctx context.Context, tx *bus.Tx, s *service, p *payment, r receivedResult) error {
	p.Status, p.FailedReason = failed, r.FailedReason
	if p.FailedReason == "" {
		p.FailedReason = j.reason
	}
	if err := savePayment(ctx, tx, p, r.source.cause(), string(r.Status)+": "+p.FailedReason); err != nil {
		return err
	}
	early, found, err := liveRefund(ctx, tx, p.ID)
	if err != nil {
		return err
	}
	if found {
		early.Status, early.FailedReason = refundDropped, "nothing was captured"
		if err := saveRefund(ctx, tx, p.ID, early); err != nil {
			return err
		}
	}
	return tx.Publish(p.failedEvent(s.now()))
}
