package simulator

import (
	"slices"

	"millrace/modules/payment/gateway"
)

// Book is the simulator's record of charges, refunds and callbacks. Tests compare
// the payment module's tables with it.
type Book struct {
	Seed          uint64         `json:"seed"`
	Charges       []Charge       `json:"charges"` // in the order of their first request
	Refunds       []Refund       `json:"refunds"` // in the order of their first request
	Misbehaviours map[string]int `json:"misbehaviours"`
	Open          int            `json:"open"` // charges with unfinished callbacks
}

// Charge is one charge in the book.
type Charge struct {
	TransactionKey string         `json:"transactionKey"`
	OrderKey       string         `json:"orderKey"`
	Amount         int64          `json:"amount"`
	Currency       string         `json:"currency"`
	Method         string         `json:"method"`
	Status         gateway.Status `json:"status"` // PENDING: not charged yet; APPROVED: captured; DECLINED
	FailedReason   string         `json:"failedReason,omitempty"`
	Attempt        int            `json:"attempt"` // 1 for the order's first charge, then 2, …
	Asked          int            `json:"asked"`   // number of requests
	LookedUp       int            `json:"lookedUp"`
	Refunded       int64          `json:"refunded"` // returned so far, by refunds and at the dashboard
	Callbacks      []Callback     `json:"callbacks"`
}

// Callback is one callback of a charge, with all its attempts.
type Callback struct {
	ID     string         `json:"id"`   // its webhook-id; copies have the same
	Kind   string         `json:"kind"` // RightCallback, or the name of a misbehaviour
	Status gateway.Status `json:"status"`
	Amount int64          `json:"amount"`
	Tries  int            `json:"tries"`
	Answer int            `json:"answer"` // the last HTTP status; 0: no response
	Done   bool           `json:"done"`   // it got a final response, or was given up
}

// RightCallback is the kind of a callback with the true result and a valid
// signature.
const RightCallback = "right"

// Refund is one refund in the book.
type Refund struct {
	RefundID       string         `json:"refundId"`
	TransactionKey string         `json:"transactionKey"`
	OrderKey       string         `json:"orderKey"`
	Amount         int64          `json:"amount"`
	Currency       string         `json:"currency"`
	Status         gateway.Status `json:"status"` // PENDING: not made yet; REFUNDED; REFUSED
	FailedReason   string         `json:"failedReason,omitempty"`
	Asked          int            `json:"asked"`
	LookedUp       int            `json:"lookedUp"`
}

// Book returns a copy of the book.
func (s *Simulator) Book() Book {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := Book{Seed: s.cfg.Seed, Charges: make([]Charge, 0, len(s.charges)), Refunds: make([]Refund, 0, len(s.refunds)), Misbehaviours: map[string]int{}, Open: s.open}
	for _, name := range slices.Concat(ChargeMisbehaviours, RefundMisbehaviours, ProvokedMisbehaviours) {
		b.Misbehaviours[name] = s.done[name] // include those that never happened, as 0
	}
	for _, c := range s.charges {
		row := c.row
		row.Callbacks = append([]Callback{}, row.Callbacks...)
		b.Charges = append(b.Charges, row)
	}
	for _, r := range s.refunds {
		b.Refunds = append(b.Refunds, r.row)
	}
	return b
}

// did counts a misbehaviour that has happened. The caller must hold s.mu.
func (s *Simulator) did(name string) {
	s.done[name]++
	s.changes++
}
