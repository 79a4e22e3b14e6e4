package simulator

import "millrace/modules/payment/gateway"

// charge and refund are rows of the book with what else is remembered of them.
type charge struct {
	row   Charge
	asked gateway.Charge // the first request: another body under its key is refused
	plan  Plan
	told  bool // its callbacks have been started
	ended bool // and have ended
}

type refund struct {
	row   Refund
	asked gateway.Refund
}

// what is to be done with a request.
type what int

const (
	otherBody     what = iota // refuse: the key belongs to another request
	unknownCharge             // refuse: there is nothing to refund
	fail                      // answer 503, having done nothing
	hang                      // having done it, never answer
	callFirst                 // call back, then answer
	pending                   // answer PENDING, and call back
	final                     // answer the final result, and call back
	again                     // answer what became of it
)

// ask records a request for a charge and decides the treatment. The first
// request charges, unless it is to be failed; then the second one does.
func (s *Simulator) ask(asked gateway.Charge) (*charge, what) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, known := s.byKey[asked.TransactionKey]
	if !known {
		s.attempts[asked.OrderKey]++
		attempt := s.attempts[asked.OrderKey]
		c = &charge{asked: asked, plan: PlanFor(s.cfg.Seed, asked.OrderKey, attempt), row: Charge{
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
	if !known && c.plan.Answer == TimeoutHidesSuccess {
		return c, hang
	}
	if c.told {
		return c, again
	}
	c.told = true
	switch {
	case known && c.plan.Answer == TimeoutHidesSuccess, c.plan.Answer == answerAtOnce:
		return c, final
	case c.plan.Answer == CallbackFirst:
		return c, callFirst
	}
	return c, pending
}

// result is what became of a charge.
func (s *Simulator) result(c *charge) gateway.Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	return gateway.Result{
		TransactionKey: c.row.TransactionKey, OrderKey: c.row.OrderKey, Amount: c.row.Amount, Currency: c.row.Currency,
		Status: c.row.Status, FailedReason: c.row.FailedReason,
	}
}

// askRefund records a request for a refund and decides the treatment. A refund
// of more than what is left of a captured charge is refused, for good.
func (s *Simulator) askRefund(asked gateway.Refund) (Refund, what) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.byKey[asked.TransactionKey]
	if c == nil {
		return Refund{}, unknownCharge
	}
	r, known := s.byRefund[asked.RefundID]
	if !known {
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
