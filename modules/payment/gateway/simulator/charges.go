package simulator

import (
	"slices"

	"millrace/modules/payment/gateway"
)

// charge and refund are entries of the book with their internal state.
type charge struct {
	row     Charge
	asked   gateway.Charge // the first request; a different body with its key is refused
	plan    Plan
	started bool // its callbacks were started
	ended   bool // its callbacks are finished

	cancels int // number of cancellations at the dashboard
}

type refund struct {
	row   Refund
	asked gateway.Refund
}

// treatment is how a request is answered.
type treatment int

const (
	otherBody     treatment = iota // refuse: the key belongs to a different request
	unknownCharge                  // refuse: there is nothing to refund
	full                           // refuse: too many charges or refunds are not final
	fail                           // respond 503 and do nothing
	hang                           // do it, but never respond
	callFirst                      // call back, then respond
	pending                        // respond PENDING, then call back
	final                          // respond with the final result, then call back
	again                          // respond with the current result
)

// recordCharge records a request for a charge and returns its treatment. The first request
// makes the charge; if the plan lets the first one fail, the second one does.
func (s *Simulator) recordCharge(asked gateway.Charge) (*charge, treatment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, known := s.byKey[asked.TransactionKey]
	if !known {
		if !s.makeRoom() {
			return nil, full
		}
		s.attempts[asked.OrderKey]++
		attempt := s.attempts[asked.OrderKey]
		c = &charge{asked: asked, plan: s.cfg.Plan(s.cfg.Seed, asked.OrderKey, attempt), row: Charge{
			TransactionKey: asked.TransactionKey, OrderKey: asked.OrderKey, Amount: asked.Amount, Currency: asked.Currency,
			Method: asked.Method, Status: gateway.Pending, Attempt: attempt,
		}}
		s.charges, s.byKey[asked.TransactionKey] = append(s.charges, c), c
		s.open++
	}
	if c.asked != asked {
		return nil, otherBody
	}
	c.row.Asked++
	s.changes++
	if !known && c.plan.Answer == ServerErrorOnce {
		s.did(ServerErrorOnce)
		return c, fail
	}
	if c.row.Status == gateway.Pending {
		c.row.Status, c.row.FailedReason = c.plan.Status, c.plan.FailedReason
		if c.plan.Status == gateway.Declined {
			s.did(Declined)
		}
	}
	if !known && (c.plan.Answer == TimeoutHidesSuccess || c.plan.Answer == ProxyAfterTimeout) {
		return c, hang
	}
	if c.started {
		return c, again
	}
	c.started = true
	switch {
	case known && (c.plan.Answer == TimeoutHidesSuccess || c.plan.Answer == ProxyAfterTimeout), c.plan.Answer == answerAtOnce:
		return c, final
	case c.plan.Answer == CallbackFirst:
		return c, callFirst
	}
	return c, pending
}

// makeRoom deletes the oldest final charges until there is room for one more. It
// returns false if too many charges are not final. The caller must hold s.mu.
func (s *Simulator) makeRoom() bool {
	for len(s.charges) >= s.cfg.Keep {
		i := slices.IndexFunc(s.charges, func(c *charge) bool { return c.ended })
		if i < 0 {
			return false
		}
		gone := s.charges[i].row
		s.charges = slices.Delete(s.charges, i, i+1)
		delete(s.byKey, gone.TransactionKey)
		if s.attempts[gone.OrderKey] == gone.Attempt {
			delete(s.attempts, gone.OrderKey)
		}
		s.changes++
	}
	return true
}

// makeRoomForRefund is makeRoom for refunds.
func (s *Simulator) makeRoomForRefund() bool {
	for len(s.refunds) >= s.cfg.Keep {
		i := slices.IndexFunc(s.refunds, func(r *refund) bool { return r.row.Status != gateway.Pending })
		if i < 0 {
			return false
		}
		delete(s.byRefund, s.refunds[i].row.RefundID)
		s.refunds = slices.Delete(s.refunds, i, i+1)
		s.changes++
	}
	return true
}

// lookup returns a charge, or nil if no request for it was ever accepted. start
// means that the caller must start its callbacks: they begin with the lookup if
// the first request was never answered. proxied means that the response must look
// like that of a proxy.
func (s *Simulator) lookup(transactionKey string) (c *charge, start, proxied bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c = s.byKey[transactionKey]
	if c == nil || c.row.Status == gateway.Pending && !c.started {
		return nil, false, false
	}
	c.row.LookedUp++
	s.changes++
	if c.plan.Answer == ProxyAfterTimeout && c.row.LookedUp <= proxiedLookups {
		s.did(ProxyAfterTimeout)
		return c, false, true
	}
	start, c.started = !c.started, true
	return c, start, false
}

// lookupRefund returns a refund, or false if no request for it was ever accepted.
func (s *Simulator) lookupRefund(refundID string) (Refund, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.byRefund[refundID]
	if r == nil || r.row.Status == gateway.Pending {
		return Refund{}, false
	}
	r.row.LookedUp++
	s.changes++
	return r.row, true
}

// result returns the current result of a charge.
func (s *Simulator) result(c *charge) gateway.Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	return gateway.Result{
		TransactionKey: c.row.TransactionKey, OrderKey: c.row.OrderKey, Amount: c.row.Amount, Currency: c.row.Currency,
		Status: c.row.Status, FailedReason: c.row.FailedReason, CanceledAmount: c.row.Refunded,
	}
}

// recordRefund records a request for a refund and returns its treatment. A refund of
// more than is left of a captured charge is refused finally.
func (s *Simulator) recordRefund(asked gateway.Refund) (Refund, treatment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.byKey[asked.TransactionKey]
	if c == nil {
		return Refund{}, unknownCharge
	}
	r, known := s.byRefund[asked.RefundID]
	if !known {
		if !s.makeRoomForRefund() {
			return Refund{}, full
		}
		r = &refund{asked: asked, row: Refund{
			RefundID: asked.RefundID, TransactionKey: asked.TransactionKey, OrderKey: c.row.OrderKey,
			Amount: asked.Amount, Currency: asked.Currency, Status: gateway.Pending,
		}}
		s.refunds, s.byRefund[asked.RefundID] = append(s.refunds, r), r
	}
	if r.asked != asked {
		return Refund{}, otherBody
	}
	r.row.Asked++
	s.changes++
	if !known && c.plan.Refund == RefundErrorOnce {
		s.did(RefundErrorOnce)
		return r.row, fail
	}
	if r.row.Status == gateway.Pending {
		left := c.row.Amount - c.row.Refunded
		switch {
		case c.row.Status != gateway.Approved:
			r.row.Status, r.row.FailedReason = gateway.Refused, "not_captured"
		case asked.Amount <= 0 || asked.Amount > left || asked.Currency != c.row.Currency:
			r.row.Status, r.row.FailedReason = gateway.Refused, "amount"
		default:
			r.row.Status = gateway.Refunded
			c.row.Refunded += asked.Amount
		}
	}
	if !known && c.plan.Refund == RefundHidden {
		return r.row, hang
	}
	return r.row, again
}
