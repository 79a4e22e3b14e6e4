package payment

import (
	"cmp"
	"context"
	"errors"

	"millrace/modules/payment/gateway"
	"millrace/platform/bus"
	"millrace/platform/errs"
	"millrace/platform/outbound"
)

// chargeCall is the payload of an outbound call that requests a charge. It is
// stored in outbound_calls as JSON.
//
// The gateway's idempotency key is the charge's transaction key, not the call's
// id, because a status check is another call about the same charge. The gateway
// rejects a known key with a different body, so every attempt must send the same
// body. CallbackURL is therefore stored: another process that retries the call
// may have another callback address.
type chargeCall struct {
	TransactionKey string `json:"transactionKey"`
	OrderKey       string `json:"orderKey"`
	Amount         int64  `json:"amount"`
	Currency       string `json:"currency"`
	Method         string `json:"method"`
	CallbackURL    string `json:"callbackUrl,omitempty"` // "" in rows of earlier versions: use this process's address
	Check          bool   `json:"check,omitempty"`       // a status check: look the charge up first
}

// chargeAnswer is the result of a charge's outbound call. A refusal is a
// successful call: the payment fails and the order may be paid by a new one.
type chargeAnswer struct {
	gateway.Result
	source  source
	refusal *gateway.Refusal
	unknown error // there is no result yet; status checks continue
	over    bool  // the gateway was not called: the payment is final
}

// charge records an outbound call that requests a charge.
func (o *outboundCalls) charge(ctx context.Context, tx *bus.Tx, p *payment) error {
	return o.recordCharge(ctx, tx, p, false)
}

// check records a status check of a charge. It looks the charge up, and requests
// it again only if the gateway has never accepted it.
func (o *outboundCalls) check(ctx context.Context, tx *bus.Tx, p *payment) error {
	return o.recordCharge(ctx, tx, p, true)
}

func (o *outboundCalls) recordCharge(ctx context.Context, tx *bus.Tx, p *payment, isCheck bool) error {
	_, err := o.charges.Record(ctx, tx, p.OrderKey, chargeCall{
		TransactionKey: p.TransactionKey, OrderKey: p.OrderKey, Amount: p.Amount, Currency: p.Currency, Method: p.Method,
		CallbackURL: p.CallbackURL, Check: isCheck,
	})
	return err
}

// charge makes the outbound call: it requests the charge, or looks it up if it
// may have been requested before.
func (a gatewayCaller) charge(ctx context.Context, call outbound.Call[chargeCall]) (chargeAnswer, error) {
	c := call.Payload
	answer, err := a.callCharge(ctx, c, call.Attempt > 1)
	switch {
	case err == nil:
		return answer, nil
	case isNotMade(err):
		return chargeAnswer{}, err
	case isLastAttempt(call.Attempt, c.Check) && ctx.Err() != context.Canceled: //nolint:errorlint // ctx.Err returns the sentinel itself, unwrapped
		return chargeAnswer{unknown: err}, nil
	}
	return chargeAnswer{}, asRetriable(err)
}

func (a gatewayCaller) callCharge(ctx context.Context, c chargeCall, again bool) (chargeAnswer, error) {
	// An operator may retry a call long after the payment failed and another payment
	// of the order succeeded. Do not charge then.
	over, before, err := a.begin(ctx, beginCharge, c.TransactionKey)
	if err != nil || over {
		return chargeAnswer{over: over}, err
	}
	asked := gateway.Charge{
		TransactionKey: c.TransactionKey, OrderKey: c.OrderKey, Amount: c.Amount, Currency: c.Currency,
		Method: c.Method, CallbackURL: cmp.Or(c.CallbackURL, a.callbackURL),
	}
	if before || again || c.Check {
		r, err := a.gateway.Lookup(ctx, asked)
		if !errors.Is(err, gateway.ErrNotThere) {
			return chargeAnswer{Result: r, source: byLookup}, err
		}
	}
	r, err := a.gateway.Charge(ctx, asked)
	if refusal := (*gateway.Refusal)(nil); errors.As(err, &refusal) {
		return chargeAnswer{refusal: refusal}, nil
	}
	return chargeAnswer{Result: r, source: byAnswer}, err
}

// onChargeComplete records the outcome of a charge's outbound call.
func (s *service) onChargeComplete(ctx context.Context, tx *bus.Tx, call outbound.Call[chargeCall], out outbound.Outcome[chargeAnswer]) error {
	answer := out.Result
	switch failure := cmp.Or(out.Err, answer.unknown); {
	case failure != nil:
		return s.chargeUnknown(ctx, tx, call.Payload, failure)
	case answer.over:
		return nil
	case answer.refusal != nil:
		return s.chargeRefused(ctx, tx, call.Payload, answer.refusal)
	}
	return s.result(ctx, tx, receivedResult{Result: answer.Result, source: answer.source})
}

// chargeUnknown leaves the payment pending because its charge has no result.
// After unknownAfter status checks it also lists the payment for a person.
func (s *service) chargeUnknown(ctx context.Context, tx *bus.Tx, c chargeCall, failure error) error {
	logNoResult(ctx, "charge", c.OrderKey, failure)
	p, err := lockPayment(ctx, tx, c.TransactionKey)
	if err != nil || p.final() || p.Checks < unknownAfter {
		return err
	}
	return listUnknownResult(ctx, tx, p, unknownDetail("charge", failure))
}

// chargeRefused fails a payment whose charge the gateway refused. If the gateway
// has already reported a status of this charge, the refusal is only logged.
func (s *service) chargeRefused(ctx context.Context, tx *bus.Tx, c chargeCall, refusal *gateway.Refusal) error {
	p, err := lockPayment(ctx, tx, c.TransactionKey)
	if err != nil {
		return err
	}
	if p.GatewayStatus != "" {
		logNoResult(ctx, "charge", c.OrderKey, refusal)
		return nil
	}
	return s.result(ctx, tx, receivedResult{source: byAnswer, Result: gateway.Result{
		TransactionKey: c.TransactionKey, OrderKey: c.OrderKey, Amount: c.Amount, Currency: c.Currency,
		Status: gateway.Refused, FailedReason: refusal.Code,
	}})
}

// unknownDetail describes a missing result to an operator. It contains the kind
// and code of the error only, never an address or text from outside.
func unknownDetail(what string, failure error) string {
	detail := "no result of the " + what + ": " + errs.KindOf(failure).String()
	if code := errs.FieldOf(failure); code != "" {
		detail += " (" + code + ")"
	}
	return detail
}

// beginCharge records that the gateway is about to be called, unless the payment
// is final (over). before reports whether the charge was requested earlier.
func beginCharge(ctx context.Context, db *bus.DB, transactionKey string) (over, before bool, err error) {
	err = db.InTx(ctx, func(tx *bus.Tx) error {
		err := tx.QueryRowContext(ctx, `
			SELECT p.status <> 'pending', c.attempted_at IS NOT NULL
			FROM charges c JOIN payments p USING (payment_id) WHERE c.transaction_key = $1 FOR UPDATE OF c`, transactionKey).Scan(&over, &before)
		if err != nil || over || before {
			return err
		}
		return changeOne(tx.ExecContext(ctx, `UPDATE charges SET attempted_at = now() WHERE transaction_key = $1`, transactionKey))
	})
	return over, before, err
}
