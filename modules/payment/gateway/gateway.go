// Package gateway is the interface to a payment gateway: requests, responses, and
// signed callbacks.
//
// # Requests
//
// A charge is named by its transaction key and a refund by its refund id; the name
// is sent as Idempotency-Key. Repeating a request with the same name and body
// never charges or refunds again: the response is the result of the first.
//
// Only the provider's own answer is final: a [Status] of the contract in a result
// about this charge, or a [Refusal], which requires a code of the contract. After
// any other error of [Gateway] the result is unknown, because a time-out, an error
// page of a proxy or an unknown code can hide a success. The caller must then look
// the charge up, and may request it again only after [ErrNotThere].
//
// # Callbacks
//
// The gateway sends the result of a charge by HTTP, signed as [Sign] does. The
// same result may arrive twice, late, out of order, and before the response to our
// own request. Changes made at the provider's dashboard arrive as callbacks, too:
// CANCELED, REFUNDED and PARTIAL_CANCELED, with [Result.CanceledAmount]; without
// it, see [Result.Back].
package gateway

import "context"

// Status is a gateway's status of a charge or refund: at most 40 characters of A–Z
// and '_'. The known ones are below; unknown ones are passed on unchanged.
type Status string

// The statuses of a charge. All except Pending are final until money is returned.
const (
	Pending  Status = "PENDING"  // accepted; no result yet
	Approved Status = "APPROVED" // the amount was captured
	Declined Status = "DECLINED" // refused by the issuer
	Canceled Status = "CANCELED" // cancelled by the user; after a capture: everything was returned
	Expired  Status = "EXPIRED"  // the user did not act in time

	PartialCanceled Status = "PARTIAL_CANCELED" // a part of the captured amount was returned
)

// The statuses of a refund; both are final. Refunded is also a status of a charge:
// the captured amount was returned.
const (
	Refunded Status = "REFUNDED" // the amount was returned
	Refused  Status = "REFUSED"  // it was not returned, and will not be
)

// Charge is a request to capture an amount.
type Charge struct {
	TransactionKey string `json:"transactionKey"` // also the idempotency key
	OrderKey       string `json:"orderKey"`
	Amount         int64  `json:"amount"` // minor units of Currency
	Currency       string `json:"currency"`
	Method         string `json:"method"`
	CallbackURL    string `json:"callbackUrl"` // where the gateway sends the result
}

// Result is a gateway's result of a charge: the response to a request, or the body
// of a callback.
type Result struct {
	TransactionKey string `json:"transactionKey"`
	OrderKey       string `json:"orderKey"`
	Amount         int64  `json:"amount"`
	Currency       string `json:"currency"`
	Status         Status `json:"status"`
	FailedReason   string `json:"failedReason,omitempty"` // a code; see [CleanReason]
	// CanceledAmount is how much of the captured amount was returned so far, all
	// parts together: 0 to Amount. It never falls.
	CanceledAmount int64 `json:"canceledAmount,omitempty"`
}

// Statement is what kind of information a result has about returned money.
type Statement int

// The statements.
const (
	Nothing  Statement = iota // nothing was returned
	Total                     // the sum of all parts so far
	Part                      // one part; each callback is another part
	Whole                     // everything was returned
	Unstated                  // a part was returned, the amount is not stated
)

// Back returns what the result states about returned money, and the amount.
// captured is the captured amount in minor units. A canceledAmount takes
// precedence over the status, because a provider may send PARTIAL_CANCELED for the
// last part, too. Without it, the amount of PARTIAL_CANCELED is that of the part,
// unless it equals the charge's.
func (r Result) Back(captured int64) (Statement, int64) {
	switch {
	case r.CanceledAmount > 0:
		return Total, min(r.CanceledAmount, captured)
	case r.Status == PartialCanceled && r.Amount >= captured:
		return Unstated, 0
	case r.Status == PartialCanceled:
		return Part, r.Amount
	case r.Status == Refunded, r.Status == Canceled:
		return Whole, r.Amount
	}
	return Nothing, 0
}

// Refund is a request to return a captured amount.
type Refund struct {
	RefundID       string `json:"refundId"` // also the idempotency key
	TransactionKey string `json:"transactionKey"`
	Amount         int64  `json:"amount"`
	Currency       string `json:"currency"`
}

// RefundResult is a gateway's result of a refund.
type RefundResult struct {
	RefundID       string `json:"refundId"`
	TransactionKey string `json:"transactionKey"`
	Amount         int64  `json:"amount"`
	Currency       string `json:"currency"`
	Status         Status `json:"status"`
	FailedReason   string `json:"failedReason,omitempty"`
}

// Gateway is a payment gateway. Implementations must be safe for concurrent use,
// return when ctx ends, and reject a response about another charge or refund with
// an ordinary error. Charge and Refund return a *[Refusal] if the provider itself
// refused, the lookups return [ErrNotThere] for an unknown name. After any other
// error the result is unknown.
type Gateway interface {
	Charge(ctx context.Context, c Charge) (Result, error)
	Lookup(ctx context.Context, c Charge) (Result, error) // by the transaction key; moves no money
	Refund(ctx context.Context, r Refund) (RefundResult, error)
	LookupRefund(ctx context.Context, r Refund) (RefundResult, error) // by the refund id; moves no money
}
