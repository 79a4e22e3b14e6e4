package paymentapi

import "time"

// Completed says that an order was paid: the amount was captured.
type Completed struct {
	PaymentID      string    `json:"paymentId"` // UUIDv7
	OrderKey       string    `json:"orderKey"`
	OrderKind      OrderKind `json:"orderKind"`
	UserID         string    `json:"userId"`
	Amount         int64     `json:"amount"`         // minor units of Currency, more than 0
	Currency       string    `json:"currency"`       // ISO 4217, three capital letters
	Provider       string    `json:"provider"`       // the gateway's name, as "simulator"
	TransactionKey string    `json:"transactionKey"` // names the charge at the provider
	OccurredAt     time.Time `json:"occurredAt"`     // when it was recorded here
}

// EventName is the event's stable name.
func (Completed) EventName() string { return "payment.completed" }

// Key is the order.
func (e Completed) Key() string { return e.OrderKey }

// Failed says that a payment will never be captured. The order may be paid
// again, with another payment.
type Failed struct {
	PaymentID      string    `json:"paymentId"`
	OrderKey       string    `json:"orderKey"`
	OrderKind      OrderKind `json:"orderKind"`
	UserID         string    `json:"userId"`
	Amount         int64     `json:"amount"` // what was asked for; nothing was captured
	Currency       string    `json:"currency"`
	Provider       string    `json:"provider"`
	TransactionKey string    `json:"transactionKey"`
	FailedReason   string    `json:"failedReason"` // a code of the provider or of ours, as "insufficient_funds"
	OccurredAt     time.Time `json:"occurredAt"`
}

// EventName is the event's stable name.
func (Failed) EventName() string { return "payment.failed" }

// Key is the order.
func (e Failed) Key() string { return e.OrderKey }

// Refunded says that the captured amount went back to the user.
type Refunded struct {
	PaymentID      string    `json:"paymentId"`
	OrderKey       string    `json:"orderKey"`
	OrderKind      OrderKind `json:"orderKind"`
	UserID         string    `json:"userId"`
	Amount         int64     `json:"amount"` // what went back: all that was captured
	Currency       string    `json:"currency"`
	Provider       string    `json:"provider"`
	TransactionKey string    `json:"transactionKey"` // of the charge
	RefundID       string    `json:"refundId"`       // UUIDv7; names the refund at the provider
	Reason         string    `json:"reason"`         // as the Refund that asked for it said
	OccurredAt     time.Time `json:"occurredAt"`
}

// EventName is the event's stable name.
func (Refunded) EventName() string { return "payment.refunded" }

// Key is the order.
func (e Refunded) Key() string { return e.OrderKey }
