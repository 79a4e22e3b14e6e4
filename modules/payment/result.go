package payment

import (
	"context"
	"log/slog"

	"millrace/modules/payment/gateway"
	"millrace/platform/bus"
	"millrace/platform/errs"
)

// heard is a gateway's result and how it came.
type heard struct {
	gateway.Result
	source    source
	webhookID string // of a callback
}

// source is how a result came: as a callback, or as the answer to our request.
type source string

const (
	byCallback source = "callback"
	byAnswer   source = "answer"
)

// cause is how the history calls it.
func (s source) cause() cause { return cause(s) }

// verdict is what became of a result.
type verdict string

const (
	settled       verdict = "settled"       // it decided the payment
	noted         verdict = "noted"         // it is known and decides nothing
	late          verdict = "late"          // the payment was final; nothing is wrong
	contradiction verdict = "contradiction" // the payment was final and says the opposite: somebody must look
	unknown       verdict = "unknown"       // no strategy for it: somebody must look
)

// result records what the gateway said, whichever way it came, and lets the
// strategy of the order's kind and the gateway's status act, once:
//
//  1. The charge's row is locked. Callbacks, answers, and refunds of one
//     payment pass here one after the other; nothing of the payment is locked
//     or changed by anybody who does not hold this lock.
//  2. Order, amount and currency must be those that were asked for.
//  3. Each status of a charge is stored once. A repetition ends here.
//  4. A final payment stays as it is, whatever comes late.
func (s *service) result(ctx context.Context, tx *bus.Tx, r heard) error {
	p, err := lockPayment(ctx, tx, r.TransactionKey)
	if err != nil {
		return err
	}
	if err := matches(p, r.Result); err != nil {
		return err
	}
	chosen, known := strategies[pair{p.OrderKind, r.Status}]
	v := judge(p, r.Result, chosen, known)
	isNew, err := insertResult(ctx, tx, r, v)
	if err != nil || !isNew {
		return err
	}
	if v == unknown || v == contradiction {
		slog.ErrorContext(ctx, "the gateway said what nobody expects; the payment stays as it is",
			"payment_id", p.ID, "order_key", p.OrderKey, "payment_status", p.Status, "gateway_status", r.Status, "verdict", v)
	}
	if v != settled && v != noted {
		return nil
	}
	if err := saveGatewayStatus(ctx, tx, r.TransactionKey, r.Status); err != nil {
		return err
	}
	return chosen.settle(ctx, tx, s, p, r)
}

// matches refuses a result that is not about what was asked for.
func matches(p *payment, r gateway.Result) error {
	switch {
	case r.OrderKey != p.OrderKey:
		return errs.InvalidField("orderKey", "is not the order of this transaction")
	case r.Amount != p.Amount:
		return errs.InvalidField("amount", "is not what was asked for")
	case r.Currency != p.Currency:
		return errs.InvalidField("currency", "is not what was asked for")
	}
	return nil
}

// judge decides what a result counts for.
func judge(p *payment, r gateway.Result, chosen strategy, known bool) verdict {
	switch {
	case !known:
		return unknown
	case !p.final():
		return chosen.verdict()
	case chosen.verdict() == settled && (p.Status == failed) == (r.Status == gateway.Approved):
		return contradiction // captured after we failed it, or failed after we captured it
	}
	return late
}
