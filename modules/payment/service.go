package payment

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"time"

	"millrace/modules/payment/gateway"
	"millrace/modules/payment/paymentapi"
	"millrace/platform/bus"
	"millrace/platform/errs"
	"millrace/platform/failpoint"
)

// service holds the use cases. Each takes, or opens, the one transaction in
// which all of it happens.
type service struct {
	db       *bus.DB
	provider string
	ownURL   string // where the gateway reaches this process
	secrets  [][]byte
	outside  *outside
	now      func() time.Time
}

// started is the answer to a request to pay.
type started struct {
	PaymentID      string `json:"paymentId" doc:"UUIDv7"`
	OrderKey       string `json:"orderKey"`
	Status         status `json:"status" enum:"pending" doc:"The gateway is asked after this answer: read the payment to see its result"`
	TransactionKey string `json:"transactionKey" doc:"Names the charge at the gateway"`
}

// answer is what a request was answered, kept with its idempotency key to be
// given again, be it success or refusal.
type answer struct {
	Started  *started `json:"started,omitempty"`
	Conflict string   `json:"conflict,omitempty"`
}

// start records a payment and the intent to ask the gateway for it. The same
// key with the same request is given the same answer, also a refusal, whatever
// has become of the payment since; a request that breaks a rule is not kept.
func (s *service) start(ctx context.Context, key string, r request) (started, error) {
	p, err := newPayment(r, s.provider)
	if err != nil {
		return started{}, err
	}
	p.CallbackURL = s.ownURL
	body, err := json.Marshal(r)
	if err != nil {
		return started{}, err
	}
	hash := sha256.Sum256(body)
	var a answer
	err = s.db.InTx(ctx, func(tx *bus.Tx) error {
		// A second request with the key waits here until the first one commits.
		isNew, err := insertKey(ctx, tx, key, hash[:])
		if err != nil {
			return err
		}
		if !isNew {
			a, err = readAnswer(ctx, tx, key, hash[:])
			return err
		}
		if a, err = s.pay(ctx, tx, p); err != nil {
			return err
		}
		return saveAnswer(ctx, tx, key, a)
	})
	if err != nil {
		return started{}, err
	}
	if a.Conflict != "" {
		return started{}, &errs.Error{Kind: errs.Conflict, Field: "orderKey", Msg: a.Conflict}
	}
	return *a.Started, nil
}

// pay stores a payment, unless its order was paid or is being paid.
func (s *service) pay(ctx context.Context, tx *bus.Tx, p *payment) (answer, error) {
	isNew, err := insertPayment(ctx, tx, p)
	if err != nil {
		return answer{}, err
	}
	if !isNew {
		return answer{Conflict: "this order was paid, and perhaps refunded, or is being paid: a new order needs a new key"}, nil
	}
	if err := s.outside.charge(ctx, tx, p); err != nil {
		return answer{}, err
	}
	return answer{Started: &started{PaymentID: p.ID.String(), OrderKey: p.OrderKey, Status: p.Status, TransactionKey: p.TransactionKey}}, nil
}

// callback takes what somebody sent as the gateway's callback. Whatever is
// refused, for whatever reason, has changed nothing.
func (s *service) callback(ctx context.Context, id, timestamp, signatures string, body []byte) error {
	if err := gateway.Verify(s.secrets, id, timestamp, signatures, body, s.now()); err != nil {
		return err
	}
	r, err := gateway.Decode(body)
	if err != nil {
		return err
	}
	err = s.db.InTx(ctx, func(tx *bus.Tx) error {
		err := s.result(ctx, tx, heard{Result: r, source: byCallback, webhookID: id})
		failpoint.Here("callback.before_commit")
		return err
	})
	failpoint.Here("callback.after_commit")
	return err
}

// answered records how a charge's intent ended.
func (s *service) answered(ctx context.Context, tx *bus.Tx, c chargeIntent, r gateway.Result, failure error) error {
	switch {
	case failure == nil:
		return s.result(ctx, tx, heard{Result: r, source: byAnswer})
	case errs.KindOf(failure).Reaction() != errs.Dead:
		logUnanswered(ctx, "charge", c.OrderKey, failure) // unknown: the payment stays open and is chased
		return nil
	}
	p, err := lockPayment(ctx, tx, c.TransactionKey)
	if err != nil {
		return err
	}
	if p.GatewayStatus != "" {
		logUnanswered(ctx, "charge", c.OrderKey, failure) // it knew the charge before: only a result counts
		return nil
	}
	return s.result(ctx, tx, heard{source: byAnswer, Result: gateway.Result{
		TransactionKey: c.TransactionKey, OrderKey: c.OrderKey, Amount: c.Amount, Currency: c.Currency,
		Status: gateway.Refused, FailedReason: errs.FieldOf(failure),
	}})
}

// refund gives back what was captured for an order. A request that comes before
// the capture waits for it; a repeated one changes nothing. Where there is
// nothing to wait for it is an error for good: somebody expects money that was
// never taken, and that must be seen.
func (s *service) refund(ctx context.Context, tx *bus.Tx, c paymentapi.Refund) error {
	const maxReason = 200
	if len(c.Reason) > maxReason {
		return errs.InvalidField("reason", "must be at most %d bytes", maxReason)
	}
	transaction, err := liveTransaction(ctx, tx, c.OrderKey)
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
	r, err := newRefund(p, c)
	if err != nil {
		return err
	}
	switch p.Status {
	case pending:
		return saveRefund(ctx, tx, p.ID, r)
	case completed:
		return s.askRefund(ctx, tx, p, r)
	case failed:
		return errs.New(errs.Contention, "the payment of %s failed just now", c.OrderKey) // look again: there may be another
	}
	return errs.New(errs.Conflict, "the payment of %s is %s without a refund", c.OrderKey, p.Status)
}

// askRefund moves a completed payment to refunding and records the intent.
func (s *service) askRefund(ctx context.Context, tx *bus.Tx, p *payment, r *refund) error {
	p.Status, r.Status = refunding, refundAsked
	if err := savePayment(ctx, tx, p, byRefund, r.Reason); err != nil {
		return err
	}
	if err := saveRefund(ctx, tx, p.ID, r); err != nil {
		return err
	}
	return s.outside.refund(ctx, tx, p, r)
}
