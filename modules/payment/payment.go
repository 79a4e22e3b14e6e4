package payment

import (
	"regexp"
	"time"

	"github.com/google/uuid"

	"millrace/modules/payment/gateway"
	"millrace/modules/payment/paymentapi"
	"millrace/platform/errs"
)

// status is the state of a payment. The transitions are:
//
//	pending   → completed  the charge was captured
//	pending   → failed     the provider refused the charge
//	failed    → completed  the charge succeeded late
//	failed    → refunding  the charge succeeded late, but the order has another payment
//	completed → refunding  a refund was requested
//	completed → refunded   a retried refund succeeded, or the provider returned the money by itself
//	refunding → refunded   the money was returned
//	refunding → completed  the gateway refused the refund
type status string

const (
	pending   status = "pending"   // the charge has no result yet
	completed status = "completed" // the amount was captured
	failed    status = "failed"    // the provider refused the charge
	refunding status = "refunding" // a refund was requested
	refunded  status = "refunded"  // the whole amount was refunded
)

// payment is a user's payment for an order, together with its charge at the
// gateway.
type payment struct {
	ID             uuid.UUID
	OrderKey       string
	Released       bool // the order may have another payment that is open or successful
	OrderKind      paymentapi.OrderKind
	UserID         string
	Amount         int64
	Currency       string
	Method         string
	Provider       string
	Status         status
	FailedReason   string
	Captured       int64
	Refunded       int64
	CreatedAt      time.Time
	UpdatedAt      time.Time
	TransactionKey string
	GatewayStatus  gateway.Status // the last result that changed or confirmed the payment; "": none yet
	Checks         int            // number of status checks so far
	CallbackURL    string         // sent with the first charge request; only set where the request is repeated
}

// final reports whether the payment has a result. A later result rarely changes
// it; see [service.result].
func (p *payment) final() bool { return p.Status != pending }

// refund returns everything that a payment still holds.
type refund struct {
	ID           uuid.UUID
	Amount       int64
	Reason       string
	RequestID    string
	Status       refundStatus
	FailedReason string
	Checks       int // number of status checks so far
}

type refundStatus string

const (
	refundWaiting refundStatus = "waiting" // waits until the charge is captured
	refundAsked   refundStatus = "asked"   // requested from the gateway
	refundDone    refundStatus = "done"
	refundRefused refundStatus = "refused" // the gateway refused it; final
	refundDropped refundStatus = "dropped" // cancelled, because nothing was captured
)

// request is the body of a request to pay.
type request struct {
	OrderKey string `json:"orderKey"`
	UserID   string `json:"userId"`
	Amount   int64  `json:"amount"`
	Currency string `json:"currency"`
	Method   string `json:"method"`
}

// methodForm allows no digits, so that a card number is never stored by mistake.
var methodForm = regexp.MustCompile(`^[A-Za-z_]{1,32}$`)

// newPayment validates a request and returns a new payment that is not stored yet.
func newPayment(r request, provider string) (*payment, error) {
	kind, ok := paymentapi.KindOf(r.OrderKey)
	if !ok {
		return nil, errs.InvalidField("orderKey", "must be goods-… or deposit-<consultation id>, at most 64 letters, digits and hyphens")
	}
	if fault := paymentapi.UserIDFault(r.UserID); fault != "" {
		return nil, errs.InvalidField("userId", "%s", fault)
	}
	if r.Amount <= 0 || r.Amount > paymentapi.MaxAmount {
		return nil, errs.InvalidField("amount", "must be 1 to %d, in minor units", int64(paymentapi.MaxAmount))
	}
	if !paymentapi.Active(r.Currency) {
		return nil, errs.InvalidField("currency", "must be an active ISO 4217 code, as KRW or USD (a withdrawn one, as BGN, takes no new payment)")
	}
	if !methodForm.MatchString(r.Method) {
		return nil, errs.InvalidField("method", "must be 1 to 32 letters or '_', as card or bank_transfer")
	}
	id, err := uuid.NewV7()
	if err != nil {
		return nil, err
	}
	transaction, err := uuid.NewV7()
	if err != nil {
		return nil, err
	}
	return &payment{
		ID: id, OrderKey: r.OrderKey, OrderKind: kind, UserID: r.UserID, Amount: r.Amount, Currency: r.Currency,
		Method: r.Method, Provider: provider, Status: pending, TransactionKey: transaction.String(),
	}, nil
}

// The following functions return the events that describe the payment's current
// state.

func (p *payment) completedEvent(at time.Time) paymentapi.Completed {
	return paymentapi.Completed{
		PaymentID: p.ID.String(), OrderKey: p.OrderKey, OrderKind: p.OrderKind, UserID: p.UserID, Amount: p.Captured,
		Currency: p.Currency, Provider: p.Provider, TransactionKey: p.TransactionKey, OccurredAt: at,
	}
}

func (p *payment) failedEvent(at time.Time) paymentapi.Failed {
	return paymentapi.Failed{
		PaymentID: p.ID.String(), OrderKey: p.OrderKey, OrderKind: p.OrderKind, UserID: p.UserID, Amount: p.Amount,
		Currency: p.Currency, Provider: p.Provider, TransactionKey: p.TransactionKey, FailedReason: p.FailedReason, OccurredAt: at,
	}
}

func (p *payment) refundedEvent(r *refund, at time.Time) paymentapi.Refunded {
	return paymentapi.Refunded{
		PaymentID: p.ID.String(), OrderKey: p.OrderKey, OrderKind: p.OrderKind, UserID: p.UserID, Amount: p.Refunded,
		Currency: p.Currency, Provider: p.Provider, TransactionKey: p.TransactionKey, RefundID: r.ID.String(), Reason: paymentapi.RefundReason(r.Reason), Duplicate: p.Released, OccurredAt: at,
	}
}
