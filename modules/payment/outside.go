package payment

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"millrace/modules/payment/gateway"
	"millrace/platform/bus"
	"millrace/platform/dispatch"
	"millrace/platform/errs"
)

// outside is the gateway as the use cases see it: intents, recorded in their
// transactions and carried out after the commit.
type outside struct {
	charges    *dispatch.Dispatcher[chargeIntent, gateway.Result]
	refunds    *dispatch.Dispatcher[refundIntent, gateway.RefundResult]
	chaseAfter time.Duration
}

// chargeIntent and refundIntent are kept in the dispatch table. The gateway's
// idempotency key is theirs, not the intent's: a chase is another intent about
// the same charge. A charge is asked for in the same words every time, also by
// another process whose own address is another, or the gateway takes it for
// another charge under a used key: so where to call back is kept, too.
type chargeIntent struct {
	TransactionKey string `json:"transactionKey"`
	OrderKey       string `json:"orderKey"`
	Amount         int64  `json:"amount"`
	Currency       string `json:"currency"`
	Method         string `json:"method"`
	CallbackURL    string `json:"callbackUrl,omitempty"` // "": this process's, in what an earlier version recorded
}

type refundIntent struct {
	RefundID       string `json:"refundId"`
	TransactionKey string `json:"transactionKey"`
	OrderKey       string `json:"orderKey"`
	Amount         int64  `json:"amount"`
	Currency       string `json:"currency"`
}

// newOutside ties the intents to the gateway and to the use cases that record
// how they ended.
func newOutside(s *service, g gateway.Gateway, cfg Config) *outside {
	const workers = 8 // a time-out keeps one busy for as long as it lasts
	return &outside{
		chaseAfter: cfg.ChaseAfter,
		charges: dispatch.New(s.db, dispatch.Outside[chargeIntent, gateway.Result]{
			Name: "charge", Timeout: cfg.GatewayTimeout, Workers: workers,
			Call: func(ctx context.Context, in dispatch.Intent[chargeIntent]) (gateway.Result, error) {
				c := in.Payload
				return g.Charge(ctx, gateway.Charge{
					TransactionKey: c.TransactionKey, OrderKey: c.OrderKey, Amount: c.Amount, Currency: c.Currency,
					Method: c.Method, CallbackURL: cmp.Or(c.CallbackURL, cfg.CallbackURL),
				})
			},
			Settle: func(ctx context.Context, tx *bus.Tx, in dispatch.Intent[chargeIntent], out dispatch.Outcome[gateway.Result]) error {
				return s.answered(ctx, tx, in.Payload, out.Result, out.Err)
			},
		}),
		refunds: dispatch.New(s.db, dispatch.Outside[refundIntent, gateway.RefundResult]{
			Name: "refund", Timeout: cfg.GatewayTimeout, Workers: workers / 2,
			Call: func(ctx context.Context, in dispatch.Intent[refundIntent]) (gateway.RefundResult, error) {
				c := in.Payload
				r, err := g.Refund(ctx, gateway.Refund{RefundID: c.RefundID, TransactionKey: c.TransactionKey, Amount: c.Amount, Currency: c.Currency})
				if err == nil && r.Status != gateway.Refunded && r.Status != gateway.Refused {
					err = fmt.Errorf("the gateway says %s of a refund: ask again", r.Status)
				}
				return r, err
			},
			Settle: func(ctx context.Context, tx *bus.Tx, in dispatch.Intent[refundIntent], out dispatch.Outcome[gateway.RefundResult]) error {
				return s.refundAnswered(ctx, tx, in.Payload, out.Result, out.Err)
			},
		}),
	}
}

// charge records the intent to ask for a charge, or to ask again what became of it.
func (o *outside) charge(ctx context.Context, tx *bus.Tx, p *payment) error {
	_, err := o.charges.Record(ctx, tx, p.OrderKey, chargeIntent{
		TransactionKey: p.TransactionKey, OrderKey: p.OrderKey, Amount: p.Amount, Currency: p.Currency, Method: p.Method, CallbackURL: p.CallbackURL,
	})
	return err
}

// refund does the same for a refund.
func (o *outside) refund(ctx context.Context, tx *bus.Tx, p *payment, r *refund) error {
	_, err := o.refunds.Record(ctx, tx, p.OrderKey, refundIntent{
		RefundID: r.ID.String(), TransactionKey: p.TransactionKey, OrderKey: p.OrderKey, Amount: r.Amount, Currency: p.Currency,
	})
	return err
}

// run carries out intents, and chases what has no result, until ctx is done.
func (s *service) run(ctx context.Context) error {
	done := make(chan error, 2)
	go func() { done <- s.outside.charges.Run(ctx) }()
	go func() { done <- s.outside.refunds.Run(ctx) }()
	look := time.NewTicker(s.outside.chaseAfter / 2)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return errors.Join(<-done, <-done)
		case <-look.C:
			if err := s.chase(ctx, s.outside.chaseAfter); err != nil && errs.KindOf(err) != errs.Shutdown {
				slog.WarnContext(ctx, "chase payments without a result; it is tried again", "error", err)
			}
		}
	}
}

// chase asks the gateway again about payments and refunds that had no result
// for so long: the callback was lost, or the gateway was away for longer than
// an intent is tried. Several processes may chase; each row is taken by one.
func (s *service) chase(ctx context.Context, after time.Duration) error {
	err := s.db.InTx(ctx, func(tx *bus.Tx) error {
		waiting, err := takeUnanswered(ctx, tx, after)
		for _, p := range waiting {
			if err == nil {
				err = s.outside.charge(ctx, tx, p)
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	return s.db.InTx(ctx, func(tx *bus.Tx) error {
		waiting, err := takeUnansweredRefunds(ctx, tx, after)
		for _, w := range waiting {
			if err == nil {
				err = s.outside.refund(ctx, tx, w.payment, w.refund)
			}
		}
		return err
	})
}

func logUnanswered(ctx context.Context, what, orderKey string, failure error) {
	slog.WarnContext(ctx, "the gateway gave no result", "what", what, "order_key", orderKey, "error", failure)
}
