package payment

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"millrace/modules/payment/gateway"
	"millrace/platform/bus"
	"millrace/platform/errs"
	"millrace/platform/outbound"
)

// refundCall is the payload of an outbound call that requests a refund. It is
// stored in outbound_calls as JSON. The gateway's idempotency key is the
// refund's id, not the call's id.
type refundCall struct {
	RefundID       string `json:"refundId"`
	TransactionKey string `json:"transactionKey"`
	OrderKey       string `json:"orderKey"`
	Amount         int64  `json:"amount"`
	Currency       string `json:"currency"`
	Check          bool   `json:"check,omitempty"` // a status check: look the refund up first
}

// refundAnswer is the result of a refund's outbound call. A refusal is not a
// result but an error: the call fails, because the money is still owed and an
// operator must correct the cause.
type refundAnswer struct {
	unknown error // there is no result yet; status checks continue
	over    bool  // the gateway was not called: the money was returned, or another refund returns it
}

// refund records an outbound call that requests a refund.
func (o *outboundCalls) refund(ctx context.Context, tx *bus.Tx, p *payment, r *refund) error {
	return o.recordRefund(ctx, tx, p, r, false)
}

// checkRefund records a status check of a refund. It looks the refund up, and
// requests it again only if the gateway has never accepted it.
func (o *outboundCalls) checkRefund(ctx context.Context, tx *bus.Tx, p *payment, r *refund) error {
	return o.recordRefund(ctx, tx, p, r, true)
}

func (o *outboundCalls) recordRefund(ctx context.Context, tx *bus.Tx, p *payment, r *refund, isCheck bool) error {
	_, err := o.refunds.Record(ctx, tx, p.OrderKey, refundCall{
		RefundID: r.ID.String(), TransactionKey: p.TransactionKey, OrderKey: p.OrderKey, Amount: r.Amount, Currency: p.Currency, Check: isCheck,
	})
	return err
}

// refund makes the outbound call: it requests the refund, or looks it up if it
// may have been requested before.
func (a gatewayCaller) refund(ctx context.Context, call outbound.Call[refundCall]) (refundAnswer, error) {
	c := call.Payload
	answer, err := a.callRefund(ctx, c, call.Attempt > 1)
	var refusal *gateway.Refusal
	switch {
	case err == nil:
		return answer, nil
	case isNotMade(err):
		return refundAnswer{}, err
	case errors.As(err, &refusal):
		return refundAnswer{}, &errs.Error{Kind: errs.Invalid, Field: refusal.Code, Msg: "the gateway refuses the refund"}
	case isLastAttempt(call.Attempt, c.Check) && ctx.Err() != context.Canceled: //nolint:errorlint // ctx.Err returns the sentinel itself, unwrapped
		return refundAnswer{unknown: err}, nil
	}
	return refundAnswer{}, asRetriable(err)
}

func (a gatewayCaller) callRefund(ctx context.Context, c refundCall, again bool) (refundAnswer, error) {
	over, before, err := a.begin(ctx, beginRefund, c.RefundID)
	if err != nil || over {
		return refundAnswer{over: over}, err
	}
	asked := gateway.Refund{RefundID: c.RefundID, TransactionKey: c.TransactionKey, Amount: c.Amount, Currency: c.Currency}
	r, err := gateway.RefundResult{}, gateway.ErrNotThere
	if before || again || c.Check {
		r, err = a.gateway.LookupRefund(ctx, asked)
	}
	if errors.Is(err, gateway.ErrNotThere) {
		r, err = a.gateway.Refund(ctx, asked)
	}
	switch {
	case err != nil, r.Status == gateway.Refunded:
		return refundAnswer{}, err
	case r.Status == gateway.Refused:
		return refundAnswer{}, &gateway.Refusal{Code: cmp.Or(r.FailedReason, "refused")}
	}
	return refundAnswer{}, fmt.Errorf("the gateway reports %s of a refund: ask again", r.Status)
}

// onRefundComplete records the outcome of a refund's outbound call. Every failure
// except the provider's refusal leaves the refund open; status checks continue.
func (s *service) onRefundComplete(ctx context.Context, tx *bus.Tx, call outbound.Call[refundCall], out outbound.Outcome[refundAnswer]) error {
	switch failure := cmp.Or(out.Err, out.Result.unknown); {
	case failure == nil && out.Result.over:
		return nil
	case failure == nil:
		return s.refundDone(ctx, tx, call.Payload)
	case errs.KindOf(failure) == errs.Invalid: // only a refusal has this kind here, see gatewayCaller.refund
		return s.refundRefused(ctx, tx, call.Payload, errs.FieldOf(failure))
	default:
		return s.refundUnknown(ctx, tx, call.Payload, failure)
	}
}

// refundUnknown leaves the refund open because it has no result. After
// unknownAfter status checks it also lists the payment for a person.
func (s *service) refundUnknown(ctx context.Context, tx *bus.Tx, c refundCall, failure error) error {
	logNoResult(ctx, "refund", c.OrderKey, failure)
	p, r, err := lockRefund(ctx, tx, c)
	if err != nil || r.Status != refundAsked || r.Checks < unknownAfter {
		return err
	}
	return listUnknownResult(ctx, tx, p, unknownDetail("refund", failure))
}

// beginRefund records that the gateway is about to be called. It does nothing and
// returns over if the money was returned or another refund of the payment is
// live, because a second refund would return the money twice. before reports
// whether the refund was requested earlier.
func beginRefund(ctx context.Context, db *bus.DB, id string) (over, before bool, err error) {
	err = db.InTx(ctx, func(tx *bus.Tx) error {
		err := tx.QueryRowContext(ctx, `
			SELECT r.status NOT IN ('asked', 'refused') OR r.status = 'refused' AND EXISTS (
				SELECT 1 FROM refunds o WHERE o.payment_id = r.payment_id AND o.status <> 'refused'), r.attempted_at IS NOT NULL
			FROM refunds r WHERE r.refund_id = $1 FOR UPDATE`, id).Scan(&over, &before)
		if err != nil || over || before {
			return err
		}
		return changeOne(tx.ExecContext(ctx, `UPDATE refunds SET attempted_at = now() WHERE refund_id = $1`, id))
	})
	return over, before, err
}
