package payment

import (
	"context"

	"millrace/modules/payment/gateway"
	"millrace/modules/payment/paymentapi"
	"millrace/platform/bus"
)

// strategy is what a gateway's result means for a payment that is still open.
// It moves the payment and says so, in the transaction that saved the result.
type strategy interface {
	settle(ctx context.Context, tx *bus.Tx, s *service, p *payment, r heard) error
	// verdict is what is noted beside the result.
	verdict() verdict
}

// pair is what selects a strategy.
type pair struct {
	kind   paymentapi.OrderKind
	status gateway.Status
}

// strategies is the one table. A pair that is not in it is stored and shown,
// and moves nothing: there is no default.
var strategies = map[pair]strategy{
	{paymentapi.Goods, gateway.Pending}:  wait{},
	{paymentapi.Goods, gateway.Approved}: capture{},
	{paymentapi.Goods, gateway.Declined}: reject{"declined"},
	{paymentapi.Goods, gateway.Canceled}: reject{"canceled"},
	{paymentapi.Goods, gateway.Expired}:  reject{"expired"},
	{paymentapi.Goods, gateway.Refused}:  reject{"refused"},

	{paymentapi.Deposit, gateway.Pending}:  wait{},
	{paymentapi.Deposit, gateway.Approved}: capture{},
	{paymentapi.Deposit, gateway.Declined}: reject{"declined"},
	{paymentapi.Deposit, gateway.Canceled}: reject{"canceled"},
	{paymentapi.Deposit, gateway.Expired}:  reject{"expired"},
	{paymentapi.Deposit, gateway.Refused}:  reject{"refused"},
}

// wait leaves the payment open: the gateway has the charge, and no result yet.
type wait struct{}

func (wait) verdict() verdict                                                 { return noted }
func (wait) settle(context.Context, *bus.Tx, *service, *payment, heard) error { return nil }

// capture completes the payment, and starts the refund that came before it.
type capture struct{}

func (capture) verdict() verdict { return settled }

func (capture) settle(ctx context.Context, tx *bus.Tx, s *service, p *payment, r heard) error {
	p.Status, p.Captured = completed, p.Amount
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
	return s.askRefund(ctx, tx, p, early)
}

// reject fails the payment, and drops the refund that came before it.
type reject struct {
	reason string // where the gateway gives none
}

func (reject) verdict() verdict { return settled }

func (j reject) settle(ctx context.Context, tx *bus.Tx, s *service, p *payment, r heard) error {
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
