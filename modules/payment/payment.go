package payment

import (
	"strings"
	"time"

	"github.com/google/uuid"

	"millrace/modules/payment/gateway"
	"millrace/modules/payment/paymentapi"
	"millrace/platform/errs"
)

// status is where a payment stands.
//
//	pending ──▶ completed ──▶ refunding ──▶ refunded
//	   │            ▲             │
//	   ▼            └─────────────┘ the gateway refused the refund;
//	failed                          completed ──▶ refunded when its call, handed back, succeeds
type status string

const (
	pending   status = "pending"   // the gateway has been, or is to be, asked
	completed status = "completed" // the amount was captured
	failed    status = "failed"    // it never will be
	refunding status = "refunding" // the gateway is asked to give it back
	refunded  status = "refunded"  // it went back
)

// maxAmount bounds an amount, in minor units, so that no sum of a day's
// payments overflows.
const maxAmount = 999_999_999_999

// payment is what a user pays for an order, with its charge at the gateway.
type payment struct {
	ID             uuid.UUID
	OrderKey       string
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
	GatewayStatus  gateway.Status // the last result that counted; "": none yet
	CallbackURL    string         // where the gateway was first told to call; read only where it is asked again
}

// final tells whether no result of the gateway may move the payment any more.
func (p *payment) final() bool { return p.Status != pending }

// refund is the giving back of all that was captured.
type refund struct {
	ID           uuid.UUID
	Amount       int64
	Reason       string
	RequestID    string
	Status       refundStatus
	FailedReason string
}

type refundStatus string

const (
	refundWaiting refundStatus = "waiting" // for the capture
	refundAsked   refundStatus = "asked"   // of the gateway
	refundDone    refundStatus = "done"
	refundRefused refundStatus = "refused" // by the gateway, for good
	refundDropped refundStatus = "dropped" // nothing was captured
)

// request is what a user asks for.
type request struct {
	OrderKey string `json:"orderKey"`
	UserID   string `json:"userId"`
	Amount   int64  `json:"amount"`
	Currency string `json:"currency"`
	Method   string `json:"method"`
}

// newPayment checks a request and makes the payment, not stored yet.
func newPayment(r request, provider string) (*payment, error) {
	kind, ok := paymentapi.KindOf(r.OrderKey)
	if !ok {
		return nil, errs.InvalidField("orderKey", "must be goods-… or deposit-<consultation id>, at most 64 letters, digits and hyphens")
	}
	if !made(r.UserID, "_.-", 64) {
		return nil, errs.InvalidField("userId", "must be 1 to 64 letters, digits, '_', '.' or '-'")
	}
	if r.Amount <= 0 || r.Amount > maxAmount {
		return nil, errs.InvalidField("amount", "must be 1 to %d, in minor units", int64(maxAmount))
	}
	if _, ok := decimals[r.Currency]; !ok {
		return nil, errs.InvalidField("currency", "must be an active ISO 4217 code, as KRW or USD")
	}
	if !made(r.Method, "_", 32) || strings.ContainsAny(r.Method, "0123456789") {
		// No digits: a card's number must not be kept, also not by mistake.
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

// made tells whether s is 1 to limit letters, digits and characters of more.
func made(s, more string, limit int) bool {
	return s != "" && len(s) <= limit && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && !strings.ContainsRune(more, r)
	})
}

// The events of a payment, as it stands.

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
		Currency: p.Currency, Provider: p.Provider, TransactionKey: p.TransactionKey, RefundID: r.ID.String(), Reason: r.Reason, OccurredAt: at,
	}
}
