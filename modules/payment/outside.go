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
	charges    *dispatch.Dispatcher[chargeIntent, chargeAnswer]
	refunds    *dispatch.Dispatcher[refundIntent, refundAnswer]
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

// chargeAnswer is what came of a charge's call. A refusal for good is an answer,
// not a call that an operator should make again: the order may be paid anew.
type chargeAnswer struct {
	gateway.Result
	refusal error
	over    bool // nothing was asked: the payment is final
}

// refundAnswer is what came of a refund's call. A refusal for good is a call
// that failed: the money is owed, and an operator mends it.
type refundAnswer struct {
	gateway.RefundResult
	over bool // nothing was asked: the money went back, or goes by another refund
}

// newOutside ties the intents to the gateway and to the use cases that record
// how they ended.
func newOutside(s *service, g gateway.Gateway, cfg Config) *outside {
	// A time-out keeps a worker busy for as long as it lasts, and holds no
	// connection to the database meanwhile: many are cheap.
	const chargeWorkers, refundWorkers = 32, 16
	return &outside{
		chaseAfter: cfg.ChaseAfter,
		charges: dispatch.New(s.db, dispatch.Outside[chargeIntent, chargeAnswer]{
			Name: "charge", Timeout: cfg.GatewayTimeout, Workers: chargeWorkers,
			Call: func(ctx context.Context, in dispatch.Intent[chargeIntent]) (chargeAnswer, error) {
				c := in.Payload
				// A call that was given up may be handed back long after the
				// payment failed and the order was paid by another one.
				if final, err := chargeIsOver(ctx, s.db, c.TransactionKey); err != nil || final {
					return chargeAnswer{over: final}, err
				}
				r, err := g.Charge(ctx, gateway.Charge{
					TransactionKey: c.TransactionKey, OrderKey: c.OrderKey, Amount: c.Amount, Currency: c.Currency,
					Method: c.Method, CallbackURL: cmp.Or(c.CallbackURL, cfg.CallbackURL),
				})
				if err != nil && errs.KindOf(err).Reaction() == errs.Dead {
					return chargeAnswer{refusal: err}, nil
				}
				return chargeAnswer{Result: r}, err
			},
			Settle: func(ctx context.Context, tx *bus.Tx, in dispatch.Intent[chargeIntent], out dispatch.Outcome[chargeAnswer]) error {
				if out.Result.over {
					return nil
				}
				return s.answered(ctx, tx, in.Payload, out.Result.Result, cmp.Or(out.Result.refusal, out.Err))
			},
		}),
		refunds: dispatch.New(s.db, dispatch.Outside[refundIntent, refundAnswer]{
			Name: "refund", Timeout: cfg.GatewayTimeout, Workers: refundWorkers,
			Call: func(ctx context.Context, in dispatch.Intent[refundIntent]) (refundAnswer, error) {
				c := in.Payload
				if over, err := refundIsOver(ctx, s.db, c.RefundID); err != nil || over {
					return refundAnswer{over: over}, err
				}
				r, err := g.Refund(ctx, gateway.Refund{RefundID: c.RefundID, TransactionKey: c.TransactionKey, Amount: c.Amount, Currency: c.Currency})
				switch {
				case err != nil, r.Status == gateway.Refunded:
				case r.Status == gateway.Refused:
					err = &errs.Error{Kind: errs.Invalid, Field: r.FailedReason, Msg: "the gateway refuses the refund"}
				default:
					err = fmt.Errorf("the gateway says %s of a refund: ask again", r.Status)
				}
				return refundAnswer{RefundResult: r}, err
			},
			Settle: func(ctx context.Context, tx *bus.Tx, in dispatch.Intent[refundIntent], out dispatch.Outcome[refundAnswer]) error {
				if out.Result.over {
					return nil
				}
				return s.refundAnswered(ctx, tx, in.Payload, out.Err)
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
