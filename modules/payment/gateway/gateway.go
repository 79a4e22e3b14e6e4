// Package gateway is the port to a payment gateway: what is asked of it, what
// it answers, and how its callbacks are signed.
//
// # Asking
//
// A charge is named by its transaction key and a refund by its refund id; both
// travel as Idempotency-Key. Asking again with the same name, in the same words,
// never charges or refunds again: it answers what became of the first. So an error of [Gateway]
// that is not of kind errs.Invalid leaves the result unknown (a time-out may
// hide a success), and the only right reaction is to ask again with the same
// name. errs.Invalid is the gateway's refusal: nothing was charged or refunded,
// and nothing will be.
//
// # Being called back
//
// The gateway tells a charge's result by HTTP, signed as [Sign] says. The same
// result may come twice, late, out of order, and before the answer to our own
// request.
package gateway

import "context"

// Status is what a gateway says about a charge or a refund: capitals and '_',
// at most 40. Only those below are known here; others are passed on as they came.
type Status string

// The statuses of a charge. All but Pending are final.
const (
	Pending  Status = "PENDING"  // accepted; the result is not known yet
	Approved Status = "APPROVED" // the amount was captured
	Declined Status = "DECLINED" // refused by the issuer
	Canceled Status = "CANCELED" // given up by the user
	Expired  Status = "EXPIRED"  // the user did not act in time
)

// The statuses of a refund; both are final.
const (
	Refunded Status = "REFUNDED" // the amount went back
	Refused  Status = "REFUSED"  // it did not, and will not
)

// Charge is a request to capture an amount.
type Charge struct {
	TransactionKey string `json:"transactionKey"` // also the idempotency key
	OrderKey       string `json:"orderKey"`
	Amount         int64  `json:"amount"` // minor units of Currency
	Currency       string `json:"currency"`
	Method         string `json:"method"`
	CallbackURL    string `json:"callbackUrl"` // where the result is told
}

// Result is what the gateway says about a charge: the answer to a request, or
// the body of a callback.
type Result struct {
	TransactionKey string `json:"transactionKey"`
	OrderKey       string `json:"orderKey"`
	Amount         int64  `json:"amount"`
	Currency       string `json:"currency"`
	Status         Status `json:"status"`
	FailedReason   string `json:"failedReason,omitempty"` // a code; see [CleanReason]
}

// Refund is a request to give back a captured amount.
type Refund struct {
	RefundID       string `json:"refundId"` // also the idempotency key
	TransactionKey string `json:"transactionKey"`
	Amount         int64  `json:"amount"`
	Currency       string `json:"currency"`
}

// RefundResult is what the gateway says about a refund.
type RefundResult struct {
	RefundID       string `json:"refundId"`
	TransactionKey string `json:"transactionKey"`
	Amount         int64  `json:"amount"`
	Currency       string `json:"currency"`
	Status         Status `json:"status"`
	FailedReason   string `json:"failedReason,omitempty"`
}

// Gateway is a payment gateway. Implementations are safe for concurrent use,
// return when ctx ends, and check that an answer is about what was asked: one
// that is not is an error like any other, with the result unknown.
type Gateway interface {
	Charge(ctx context.Context, c Charge) (Result, error)
	Refund(ctx context.Context, r Refund) (RefundResult, error)
}
