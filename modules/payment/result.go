package payment

import (
	"context"

	"millrace/modules/payment/attention"
	"millrace/modules/payment/gateway"
	"millrace/platform/bus"
	"millrace/platform/errs"
)

// receivedResult is a gateway's result and how it was received.
type receivedResult struct {
	gateway.Result
	source    source
	webhookID string // of a callback; "" for an answer or a lookup
}

// source is how a result was received: as a callback, as the answer to our
// request, or as the answer to a lookup.
type source string

const (
	byCallback source = "callback"
	byAnswer   source = "answer"
	byLookup   source = "lookup"
)

// cause returns the source as a cause for the payment's history.
func (s source) cause() cause { return cause(s) }

// means returns the status that selects the strategy. A result with a canceled
// amount is about captured money, whatever its status.
func (r receivedResult) means() gateway.Status {
	if r.CanceledAmount > 0 && (r.Status == gateway.Approved || r.Status == gateway.Canceled) {
		return gateway.PartialCanceled
	}
	return r.Status
}

// verdict is how a result was classified.
type verdict string

const (
	settled       verdict = "settled"       // completed or failed the payment
	noted         verdict = "noted"         // known; the payment stays open
	late          verdict = "late"          // the payment was final; nothing is wrong
	reopened      verdict = "reopened"      // the payment had failed, and its charge succeeded late
	returned      verdict = "returned"      // the provider returned captured money
	contradiction verdict = "contradiction" // the payment was captured and the result denies it: a person must look
	unknown       verdict = "unknown"       // no strategy for this status: a person must look
)

// result stores a gateway's result, from any source, and applies it once:
//
//  1. It locks the charge's row. Callbacks, answers and refunds of a payment are
//     serialized by this lock; nothing changes a payment without it.
//  2. Order, amount and currency must match the charge request.
//  3. Each status of a charge is stored once, and again only if more money was
//     returned. A repetition ends here. For a part that was returned, a
//     repetition is a callback with the same webhook-id.
//  4. A final payment stays as it is, except for two facts about money: its
//     charge succeeded late, or captured money was returned at the provider.
func (s *service) result(ctx context.Context, tx *bus.Tx, r receivedResult) error {
	p, err := lockPayment(ctx, tx, r.TransactionKey)
	if err != nil {
		return err
	}
	if err := matches(p, r.Result); err != nil {
		return err
	}
	chosen, known := strategies[pair{p.OrderKind, r.means()}]
	b := returnedMoney{total: p.Refunded}
	if captured := capturedBy(p, chosen); captured > 0 && mayReturn(r, chosen) {
		if b, err = computeReturned(ctx, tx, p, r, captured); err != nil || b.isCopy {
			return err
		}
	}
	v := classify(p, r, chosen, known, b)
	canceled := b.total
	if v != settled && v != reopened && v != returned {
		canceled = 0
	}
	isNew, err := insertResult(ctx, tx, r, v, canceled)
	if err != nil || !isNew && !b.isNew {
		return err
	}
	switch v {
	case unknown:
		return needsAttention(ctx, tx, p, attention.UnknownStatus, string(r.Status))
	case contradiction:
		return needsAttention(ctx, tx, p, attention.Contradiction, string(r.Status)+" of a payment that is "+string(p.Status))
	case late:
		return nil
	case noted, settled, reopened, returned:
	}
	if err := saveGatewayStatus(ctx, tx, r.TransactionKey, r.Status); err != nil {
		return err
	}
	switch v {
	case noted, settled:
		err = chosen.settle(ctx, tx, s, p, r)
	case reopened:
		err = s.lateSuccess(ctx, tx, p, r, chosen)
	}
	if err != nil {
		return err
	}
	if v != noted {
		if _, err := endAttention(ctx, tx, p, attention.UnknownResult); err != nil {
			return err
		}
	}
	return s.recordReturned(ctx, tx, p, r, b)
}

// capturedBy returns the captured amount of the payment after the result is
// applied.
func capturedBy(p *payment, chosen strategy) int64 {
	if _, captures := chosen.(capture); captures {
		return p.Amount
	}
	return p.Captured
}

// mayReturn reports whether a result of this kind can state returned money.
func mayReturn(r receivedResult, chosen strategy) bool {
	_, captures := chosen.(capture)
	return captures || r.Status == gateway.Canceled
}

// matches rejects a result that does not match the charge request. A result about
// returned money may state the returned part instead of the charge's amount.
func matches(p *payment, r gateway.Result) error {
	givesPart := r.Status == gateway.PartialCanceled || r.Status == gateway.Refunded || r.Status == gateway.Canceled && p.Captured > 0
	switch {
	case r.OrderKey != p.OrderKey:
		return errs.InvalidField("orderKey", "is not the order of this transaction")
	case r.Amount > p.Amount, r.Amount != p.Amount && !givesPart:
		return errs.InvalidField("amount", "is not what was asked for")
	case r.Currency != p.Currency:
		return errs.InvalidField("currency", "is not what was asked for")
	case r.CanceledAmount > p.Amount:
		return errs.InvalidField("canceledAmount", "is more than was charged: it is how much has gone back by now")
	}
	return nil
}

// classify returns the verdict on a result.
func classify(p *payment, r receivedResult, chosen strategy, known bool, b returnedMoney) verdict {
	if !known {
		return unknown
	}
	_, captures := chosen.(capture)
	switch {
	case !p.final():
		return chosen.verdict()
	case chosen.verdict() != settled: // the charge is pending, which is older than the payment's state
		return late
	case p.Status == failed && captures:
		return reopened
	case p.Status == failed:
		return late
	case mayReturn(r, chosen):
		if b.total > p.Refunded || b.fault != "" {
			return returned
		}
		return late
	}
	return contradiction // reported as failed after it was captured
}
