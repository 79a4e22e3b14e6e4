package simulator

import (
	"slices"

	"millrace/modules/payment/gateway"
)

// Book is what the simulator did, by its own account: the other side's truth,
// to compare ours with.
type Book struct {
	Seed          uint64         `json:"seed"`
	Charges       []Charge       `json:"charges"` // in the order of their first request
	Refunds       []Refund       `json:"refunds"` // likewise
	Misbehaviours map[string]int `json:"misbehaviours"`
	Open          int            `json:"open"` // charges whose callbacks are not all answered for good
}

// Charge is one charge in the book.
type Charge struct {
	TransactionKey string         `json:"transactionKey"`
	OrderKey       string         `json:"orderKey"`
	Amount         int64          `json:"amount"`
	Currency       string         `json:"currency"`
	Method         string         `json:"method"`
	Status         gateway.Status `json:"status"` // PENDING: not charged (yet); APPROVED: the money was taken; DECLINED
	FailedReason   string         `json:"failedReason,omitempty"`
	Attempt        int            `json:"attempt"` // the order's n-th charge
	Asked          int            `json:"asked"`   // how many requests there were
	Refunded       int64          `json:"refunded"`
	Callbacks      []Callback     `json:"callbacks"`
}

// Callback is one callback of a charge, with all its tries.
type Callback struct {
	ID     string         `json:"id"`   // its webhook-id; copies have the same
	Kind   string         `json:"kind"` // RightCallback, or the name of a misbehaviour
	Status gateway.Status `json:"status"`
	Amount int64          `json:"amount"`
	Tries  int            `json:"tries"`
	Answer int            `json:"answer"` // the last HTTP status; 0: none came
	Done   bool           `json:"done"`   // answered for good, or given up
}

// RightCallback is the kind of a callback that tells the truth and is signed.
const RightCallback = "right"

// Refund is one refund in the book.
type Refund struct {
	RefundID       string         `json:"refundId"`
	TransactionKey string         `json:"transactionKey"`
	OrderKey       string         `json:"orderKey"`
	Amount         int64          `json:"amount"`
	Currency       string         `json:"currency"`
	Status         gateway.Status `json:"status"` // PENDING: not made (yet); REFUNDED; REFUSED
	FailedReason   string         `json:"failedReason,omitempty"`
	Asked          int            `json:"asked"`
}

// Book returns a copy of the book as it is now.
func (s *Simulator) Book() Book {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := Book{Seed: s.cfg.Seed, Charges: make([]Charge, 0, len(s.charges)), Refunds: make([]Refund, 0, len(s.refunds)), Misbehaviours: map[string]int{}, Open: s.open}
	for _, name := range slices.Concat(ChargeMisbehaviours, RefundMisbehaviours) {
		b.Misbehaviours[name] = s.done[name] // also those that never happened: 0 is a finding
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

// did counts a misbehaviour that has been carried out. s.mu is held.
func (s *Simulator) did(name string) {
	s.done[name]++
	s.changes++
}
