// Package attention lists and counts the payments that a person must look at, and
// records acknowledgements. The operator's commands and the metrics use it.
//
// An item is one reason of one payment. The payment module opens it in the
// transaction that finds the reason. Some items end automatically, in the
// transaction that resolves the reason. All others end when a person acknowledges
// them; who, when and why are stored. This package never changes a payment.
package attention

import (
	"time"

	"github.com/google/uuid"
)

// Reason is why a person must look. The list is closed, because it is a metric
// label.
type Reason string

// The reasons.
const (
	// LateSuccess: the charge succeeded after its payment had failed, and the payment
	// is now completed.
	LateSuccess Reason = "late_success"
	// DuplicateCharge: the charge succeeded after its payment had failed, and the
	// order has another payment that is open or successful. This charge is refunded.
	DuplicateCharge Reason = "duplicate_charge"
	// ProviderRefund: the whole captured amount was returned at the provider without
	// a refund of ours.
	ProviderRefund Reason = "provider_refund"
	// PartialCancel: a part of the captured amount was returned at the provider.
	PartialCancel Reason = "partial_cancel"
	// Contradiction: the provider's report contradicts its earlier reports.
	Contradiction Reason = "contradiction"
	// UnknownStatus: the provider reported a status that this version does not know.
	// The payment was not changed.
	UnknownStatus Reason = "unknown_status"
	// UnknownResult: status checks find no result. It ends automatically with the
	// result.
	UnknownResult Reason = "unknown_result"
	// RefundRefused: the provider refused a refund, so the money is still owed. It
	// ends automatically when the money was returned.
	RefundRefused Reason = "refund_refused"
)

// Reasons lists all reasons.
var Reasons = []Reason{LateSuccess, DuplicateCharge, ProviderRefund, PartialCancel, Contradiction, UnknownStatus, UnknownResult, RefundRefused}

// NextStep returns a text for the operator: what to do about the item.
func (r Reason) NextStep() string {
	switch r {
	case LateSuccess:
		return "the customer was informed that the payment failed: check that the order is continued, then acknowledge"
	case DuplicateCharge:
		return "this charge goes back by itself: check that it did and that the customer knows, then acknowledge"
	case ProviderRefund:
		return "check at the provider who gave it back, and that the order was stopped, then acknowledge"
	case PartialCancel:
		return "the order goes on: compare the amount with the provider's and decide about the order, then acknowledge"
	case Contradiction, UnknownStatus:
		return "compare the payment with the provider's book, correct it there, then acknowledge"
	case UnknownResult:
		return "status checks go on by themselves: if the provider answers others, look the charge up in its book"
	case RefundRefused:
		return "the money is owed: correct the cause and retry the call (millrace deadletters), or refund it at the provider"
	}
	return "look at the payment, then acknowledge"
}

// Item is one reason of one payment that a person must look at.
type Item struct {
	ID        int64     `json:"id"` // for Acknowledge
	Reason    Reason    `json:"reason"`
	Detail    string    `json:"detail,omitempty"`
	Since     time.Time `json:"since"`
	OrderKey  string    `json:"orderKey"`
	PaymentID uuid.UUID `json:"paymentId"`
	Status    string    `json:"status"` // of the payment
	Amount    int64     `json:"amount"` // amounts are in minor units of Currency
	Captured  int64     `json:"captured"`
	Refunded  int64     `json:"refunded"`
	Currency  string    `json:"currency"`
	NextStep  string    `json:"nextStep"`
}
