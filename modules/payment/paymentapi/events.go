package paymentapi

import "time"

// Completed is published when the amount of a payment was captured: the order is
// paid. It may follow the Failed of the same payment, if the charge succeeded
// late.
type Completed struct {
	PaymentID      string    `json:"paymentId"` // UUIDv7
	OrderKey       string    `json:"orderKey"`
	OrderKind      OrderKind `json:"orderKind"`
	UserID         string    `json:"userId"`
	Amount         int64     `json:"amount"`         // minor units of Currency, more than 0
	Currency       string    `json:"currency"`       // ISO 4217, three capital letters
	Provider       string    `json:"provider"`       // the gateway's name, as "simulator"
	TransactionKey string    `json:"transactionKey"` // identifies the charge at the provider
	OccurredAt     time.Time `json:"occurredAt"`     // when this module recorded it
}

// EventName is the event's stable name.
func (Completed) EventName() string { return "payment.completed" }

// Key is the order key.
func (e Completed) Key() string { return e.OrderKey }

// Failed is published when the provider refused a payment and nothing was
// captured. The order may be paid again by another payment. If the charge
// succeeds late, the Completed of the same payment follows, or a Refunded with
// Duplicate set.
type Failed struct {
	PaymentID      string    `json:"paymentId"`
	OrderKey       string    `json:"orderKey"`
	OrderKind      OrderKind `json:"orderKind"`
	UserID         string    `json:"userId"`
	Amount         int64     `json:"amount"` // the requested amount; nothing was captured
	Currency       string    `json:"currency"`
	Provider       string    `json:"provider"`
	TransactionKey string    `json:"transactionKey"`
	FailedReason   string    `json:"failedReason"` // a code of the provider or of ours, as "insufficient_funds"
	OccurredAt     time.Time `json:"occurredAt"`
}

// EventName is the event's stable name.
func (Failed) EventName() string { return "payment.failed" }

// Key is the order key.
func (e Failed) Key() string { return e.OrderKey }

// Refunded is published when the whole captured amount was returned to the user.
type Refunded struct {
	PaymentID      string    `json:"paymentId"`
	OrderKey       string    `json:"orderKey"`
	OrderKind      OrderKind `json:"orderKind"`
	UserID         string    `json:"userId"`
	Amount         int64     `json:"amount"` // the returned amount: all that was captured
	Currency       string    `json:"currency"`
	Provider       string    `json:"provider"`
	TransactionKey string    `json:"transactionKey"` // of the charge
	RefundID       string    `json:"refundId"`       // UUIDv7; identifies the refund at the provider
	Reason         string    `json:"reason"`         // one of RefundReasons
	// Duplicate means that the charge succeeded after its payment had failed, while
	// the order had another payment, and was refunded. This payment has no Completed;
	// the order's other payment is not affected.
	Duplicate  bool      `json:"duplicate,omitempty"`
	OccurredAt time.Time `json:"occurredAt"`
}

// EventName is the event's stable name.
func (Refunded) EventName() string { return "payment.refunded" }

// Key is the order key.
func (e Refunded) Key() string { return e.OrderKey }
