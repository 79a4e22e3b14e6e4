package payment

import (
	"context"
	"time"

	"millrace/modules/payment/gateway"
	"millrace/modules/payment/paymentapi"
	"millrace/platform/bus"
	"millrace/platform/errs"
	"millrace/platform/failpoint"
	"millrace/platform/web"
)

// service holds the use cases. Each one runs in a single transaction, which it
// either receives or opens.
type service struct {
	db       *bus.DB
	provider string
	ownURL   string // the callback address that the gateway is given
	secrets  [][]byte
	outbound *outboundCalls
	now      func() time.Time
}

// started is the response to a request to pay.
type started struct {
	PaymentID      string `json:"paymentId" doc:"UUIDv7"`
	OrderKey       string `json:"orderKey"`
	Status         status `json:"status" enum:"pending" doc:"The gateway is asked after this answer: read the payment to see its result"`
	TransactionKey string `json:"transactionKey" doc:"Names the charge at the gateway"`
}

// answer is the stored response of a request, success or conflict. A repeated
// request with the same idempotency key gets it again.
type answer struct {
	Started  *started `json:"started,omitempty"`
	Conflict string   `json:"conflict,omitempty"`
}

// start stores a payment and records the outbound call that charges it. A
// repeated request with the same key and body gets the same response, also a
// conflict, even if the payment has changed since. An invalid request is not
// stored.
func (s *service) start(ctx context.Context, key string, r request) (started, error) {
	p, err := newPayment(r, s.provider)
	if err != nil {
		return started{}, err
	}
	p.CallbackURL = s.ownURL
	once, err := web.NewRequest("POST /payments", r.UserID, key, r)
	if err != nil {
		return started{}, err
	}
	var a answer
	err = s.db.InTx(ctx, func(tx *bus.Tx) error {
		a, _, err = web.Once(ctx, tx, once, func() (answer, error) { return s.pay(ctx, tx, p) })
		return err
	})
	if err != nil {
		return started{}, err
	}
	if a.Conflict != "" {
		return started{}, &errs.Error{Kind: errs.Conflict, Field: "orderKey", Msg: a.Conflict}
	}
	return *a.Started, nil
}

// pay stores a payment and its outbound call, or returns a conflict if the order
// cannot be paid now.
func (s *service) pay(ctx context.Context, tx *bus.Tx, p *payment) (answer, error) {
	if err := lockOrder(ctx, tx, p.OrderKey); err != nil {
		return answer{}, err
	}
	if err := releaseRefunded(ctx, tx, p.OrderKind, p.OrderKey); err != nil {
		return answer{}, err
	}
	why, err := whyNotPayable(ctx, tx, p.OrderKey)
	if err != nil || why != "" {
		return answer{Conflict: why}, err
	}
	isNew, err := insertPayment(ctx, tx, p)
	if err != nil {
		return answer{}, err
	}
	if !isNew { // a process of an earlier version, which does not lock the order, was faster
		return answer{Conflict: "this order is being paid by another payment: wait for its result"}, nil
	}
	if err := s.outbound.charge(ctx, tx, p); err != nil {
		return answer{}, err
	}
	return answer{Started: &started{PaymentID: p.ID.String(), OrderKey: p.OrderKey, Status: p.Status, TransactionKey: p.TransactionKey}}, nil
}

// callback verifies and records a callback of the gateway. If it returns an
// error, nothing was changed.
func (s *service) callback(ctx context.Context, id, timestamp, signatures string, body []byte) error {
	if err := gateway.Verify(s.secrets, id, timestamp, signatures, body, s.now()); err != nil {
		return err
	}
	r, err := gateway.Decode(body)
	if err != nil {
		return err
	}
	err = s.db.InTx(ctx, func(tx *bus.Tx) error {
		err := s.result(ctx, tx, receivedResult{Result: r, source: byCallback, webhookID: id})
		failpoint.Here("callback.before_commit")
		return err
	})
	failpoint.Here("callback.after_commit")
	return err
}

// refund refunds what was captured for the order, or for the payment that the
// command names. If the payment is still pending the refund waits for the
// capture. A repeated command changes nothing. If there is no payment to refund,
// it returns a permanent error, so that the command becomes a dead letter: the
// sender expects money that was never taken, and a person must look.
func (s *service) refund(ctx context.Context, tx *bus.Tx, c paymentapi.Refund) error {
	const maxReason = 200
	if len(c.Reason) > maxReason {
		return errs.InvalidField("reason", "must be at most %d bytes", maxReason)
	}
	transaction, err := refundable(ctx, tx, c)
	if err != nil {
		return err
	}
	p, err := lockPayment(ctx, tx, transaction)
	if err != nil {
		return err
	}
	_, found, err := liveRefund(ctx, tx, p.ID)
	if err != nil || found {
		return err
	}
	r, err := newRefund(p, c.Reason, c.RequestID)
	if err != nil {
		return err
	}
	switch p.Status {
	case pending:
		return saveRefund(ctx, tx, p.ID, r)
	case completed, refunding: // refunding without a live refund: the refund of a late charge was refused
		return s.startRefund(ctx, tx, p, r)
	case failed:
		if c.PaymentID != "" {
			return nothingToRefund(c.OrderKey)
		}
		return errs.New(errs.Contention, "the payment of %s failed just now", c.OrderKey) // retry: there may be another payment
	}
	return errs.New(errs.Conflict, "the payment of %s is %s without a refund", c.OrderKey, p.Status)
}

// startRefund moves a captured payment to refunding and records the outbound call.
func (s *service) startRefund(ctx context.Context, tx *bus.Tx, p *payment, r *refund) error {
	p.Status, r.Status, r.FailedReason = refunding, refundAsked, ""
	if err := savePayment(ctx, tx, p, byRefund, r.Reason); err != nil {
		return err
	}
	if err := saveRefund(ctx, tx, p.ID, r); err != nil {
		return err
	}
	return s.outbound.refund(ctx, tx, p, r)
}
