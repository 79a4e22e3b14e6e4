package payment

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/modules/payment/gateway"
	"millrace/modules/payment/paymentapi"
	"millrace/platform/bus"
	"millrace/platform/errs"
	"millrace/platform/outbound"
)

func TestRefund_BeforeCaptureStartsWithCapture(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := b.started("deposit-42")
	b.When(paymentapi.Refund{OrderKey: "deposit-42", Reason: "cancelled"}, paymentapi.Refund{OrderKey: "deposit-42", Reason: "cancelled again"})
	b.ThenNothing()
	require.Equal(t, refundWaiting, b.view(s).Refunds[0].Status)
	require.Equal(t, 204, b.callback(b.result(s, gateway.Approved)))
	b.Then(paymentapi.Completed{OrderKey: "deposit-42"}, paymentapi.Refunded{OrderKey: "deposit-42", OrderKind: paymentapi.Deposit, Amount: 15000, Reason: paymentapi.OtherReason})
	v := b.view(s)
	require.Equal(t, refunded, v.Status)
	require.Len(t, v.Refunds, 1)
	require.Len(t, v.History, 4)
	require.Len(t, b.gateway.refundsAsked(), 1)
	require.Empty(t, b.DeadLetters())
}

func TestRefund_DroppedWhenPaymentFails(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := b.started("goods-17")
	b.When(paymentapi.Refund{OrderKey: "goods-17", Reason: "changed my mind"})
	require.Equal(t, 204, b.callback(b.result(s, gateway.Declined)))
	b.Then(paymentapi.Failed{OrderKey: "goods-17"})
	require.Equal(t, refundDropped, b.view(s).Refunds[0].Status)
	require.Empty(t, b.gateway.refundsAsked())
}

func TestRefund_WithoutCapturedPaymentIsDeadLetter(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := b.started("goods-17")
	require.Equal(t, 204, b.callback(b.result(s, gateway.Declined)))
	b.Then(paymentapi.Failed{OrderKey: "goods-17"})
	b.When(paymentapi.Refund{OrderKey: "goods-17"}, paymentapi.Refund{OrderKey: "goods-18"})
	b.ThenNothing()
	dead := b.DeadLetters()
	require.Len(t, dead, 2)
	require.Contains(t, dead[0], "nothing to give back")
}

func TestRefund_RetriesUseTheSameRefundID(t *testing.T) {
	t.Parallel()
	b := setup(t)
	asked := 0
	b.gateway.onRefund = func(r gateway.Refund) (gateway.RefundResult, error) {
		asked++
		switch asked {
		case 1:
			return gateway.RefundResult{}, context.DeadlineExceeded // the refund may have been made
		case 2:
			return refundOf(r, gateway.Pending), nil
		}
		return refundOf(r, gateway.Refunded), nil
	}
	s := b.started("goods-17")
	require.Equal(t, 204, b.callback(b.result(s, gateway.Approved)))
	b.When(paymentapi.Refund{OrderKey: "goods-17"})
	b.Then(paymentapi.Completed{OrderKey: "goods-17"}, paymentapi.Refunded{OrderKey: "goods-17"})
	all := b.gateway.refundsAsked()
	require.Len(t, all, 3)
	require.Equal(t, []string{all[0].RefundID, all[0].RefundID}, []string{all[1].RefundID, all[2].RefundID})
}

func TestRefund_RefusalLeavesPaymentCompletedAndAllowsAnotherRefund(t *testing.T) {
	t.Parallel()
	b := setup(t)
	answers := []func(gateway.Refund) (gateway.RefundResult, error){
		func(r gateway.Refund) (gateway.RefundResult, error) {
			g := refundOf(r, gateway.Refused)
			g.FailedReason = "account_closed"
			return g, nil
		},
		func(gateway.Refund) (gateway.RefundResult, error) {
			return gateway.RefundResult{}, &gateway.Refusal{Code: "limit"}
		},
		func(r gateway.Refund) (gateway.RefundResult, error) { return refundOf(r, gateway.Refunded), nil },
	}
	b.gateway.onRefund = func(r gateway.Refund) (gateway.RefundResult, error) {
		answer := answers[0]
		answers = answers[1:]
		return answer(r)
	}
	s := b.started("goods-17")
	require.Equal(t, 204, b.callback(b.result(s, gateway.Approved)))
	b.Then(paymentapi.Completed{OrderKey: "goods-17"})
	for i, reason := range []string{"account_closed", "limit"} {
		b.When(paymentapi.Refund{OrderKey: "goods-17"})
		b.ThenRow(`SELECT p.status, p.refunded, (SELECT count(*) FROM refunds WHERE status = 'refused') FROM payments p`, "completed", 0, i+1)
		v := b.view(s)
		require.Equal(t, reason, v.Refunds[i].FailedReason)
		require.Contains(t, v.History[len(v.History)-1].Detail, reason)
		b.ThenNothing()
	}
	b.When(paymentapi.Refund{OrderKey: "goods-17"})
	b.Then(paymentapi.Refunded{OrderKey: "goods-17"})
	b.ThenRow(everyChangeHasItsHistory, 0)
	all := b.gateway.refundsAsked()
	require.NotEqual(t, all[0].RefundID, all[2].RefundID, "a refused refund id is not used again")
}

func TestDatabase_RejectsInconsistentPaymentAmounts(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := b.started("goods-17")
	for _, change := range []string{
		"captured = 15000", "captured = -1", "refunded = 1", "status = 'completed'", "status = 'completed', captured = 15001",
		"status = 'refunded', captured = 100, refunded = 101", "status = 'refunded', captured = 100", "status = 'failed'", "failed_reason = 'x'",
		"status = 'refunded', captured = 15000, refunded = 5000", "status = 'completed', captured = 15000, refunded = 15000",
		"released_order_key = 'goods-17'", "amount = 0", "currency = 'krw'", "order_kind = 'gift'", "status = 'odd'",
	} {
		_, err := b.exec(`UPDATE payments SET `+change+` WHERE payment_id = $1`, s.PaymentID)
		require.Equal(t, errs.Conflict, errs.KindOf(err), change)
	}
	require.Equal(t, pending, b.view(s).Status)
}

func TestCharge_TimeoutRetriesTheSameCharge(t *testing.T) {
	t.Parallel()
	b := setup(t)
	failures := []error{context.DeadlineExceeded, errs.New(errs.Resource, "503"), errors.New("an answer that is not JSON")}
	b.gateway.onCharge = func(c gateway.Charge) (gateway.Result, error) {
		if len(failures) > 0 {
			err := failures[0]
			failures = failures[1:]
			return gateway.Result{}, err
		}
		return resultOf(c, gateway.Approved), nil
	}
	s := b.asked("goods-17")
	b.Then(paymentapi.Completed{OrderKey: "goods-17", TransactionKey: s.TransactionKey})
	require.Len(t, b.gateway.charges, 4)
	for _, c := range b.gateway.charges {
		require.Equal(t, b.gateway.charges[0], c)
	}
	require.Equal(t, s.TransactionKey, b.gateway.charges[0].TransactionKey)
	require.Equal(t, "http://127.0.0.1:1/callbacks/gateway", b.gateway.charges[0].CallbackURL)
}

func TestCharge_RefusalFailsPayment(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.gateway.onCharge = func(gateway.Charge) (gateway.Result, error) {
		return gateway.Result{}, &gateway.Refusal{Code: "unsupported_currency"}
	}
	s := b.asked("goods-17")
	b.Then(paymentapi.Failed{OrderKey: "goods-17", FailedReason: "unsupported_currency"})
	require.Equal(t, failed, b.view(s).Status)
}

func TestStatusCheck_FindsMissingResultsOfChargesAndRefunds(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := b.started("goods-17")
	require.NoError(t, b.module.service.startStatusChecks(t.Context(), 0))
	b.ThenRow(`SELECT count(*) FROM outbound_calls WHERE state = 'succeeded'`, 2)
	b.gateway.mu.Lock()
	require.Equal(t, b.gateway.charges[0], b.gateway.charges[1], "the same charge")
	b.gateway.onCharge = func(c gateway.Charge) (gateway.Result, error) { return resultOf(c, gateway.Approved), nil }
	b.gateway.mu.Unlock()
	require.NoError(t, b.module.service.startStatusChecks(t.Context(), 0))
	b.Then(paymentapi.Completed{OrderKey: "goods-17"})
	require.NoError(t, b.module.service.startStatusChecks(t.Context(), 0))
	b.ThenRow(`SELECT count(*) FROM outbound_calls`, 3) // no check of final payments

	// A refund whose outbound call ended without a result.
	require.NoError(t, b.inTx(func(tx *bus.Tx) error {
		p, err := lockPayment(t.Context(), tx, s.TransactionKey)
		if err != nil {
			return err
		}
		r, err := newRefund(p, "checked", "")
		if err != nil {
			return err
		}
		p.Status, r.Status = refunding, refundAsked
		if err := savePayment(t.Context(), tx, p, byRefund, ""); err != nil {
			return err
		}
		return saveRefund(t.Context(), tx, p.ID, r)
	}))
	require.NoError(t, b.module.service.startStatusChecks(t.Context(), 0))
	b.Then(paymentapi.Refunded{OrderKey: "goods-17", Reason: paymentapi.OtherReason})
}

// A gateway refuses a different body with a known key, although the money may have
// been taken.
func TestCharge_ProcessWithAnotherCallbackURLSendsTheSameRequest(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.started("goods-17")
	elsewhere := newModule(b.db, Config{Provider: "simulator", CallbackURL: "http://127.0.0.1:2/callbacks/gateway", StatusCheckAfter: time.Hour}, b.gateway)
	require.NoError(t, elsewhere.service.startStatusChecks(t.Context(), 0))
	ctx, end := context.WithCancel(t.Context())
	defer end()
	go func() { _ = elsewhere.Run(ctx) }()
	b.ThenRow(`SELECT count(*) FROM outbound_calls WHERE state = 'succeeded'`, 2)
	b.gateway.mu.Lock()
	defer b.gateway.mu.Unlock()
	require.Equal(t, b.gateway.charges[0], b.gateway.charges[1])
	b.ThenRow(`SELECT count(*) FROM outbound_calls WHERE payload::json->>'callbackUrl' = 'http://127.0.0.1:1/callbacks/gateway'`, 2)
}

// A call that failed or was given up does not mean that the gateway did nothing.
func TestOutboundCall_FailureLeavesResultOpen(t *testing.T) {
	t.Parallel()
	b := setup(t)
	asked, answer := make(chan struct{}), make(chan struct{})
	b.gateway.onCharge = func(c gateway.Charge) (gateway.Result, error) {
		close(asked)
		<-answer
		return resultOf(c, gateway.Pending), nil
	}
	s := b.asked("goods-17")
	<-asked
	nothingChanges := func(out outbound.Outcome[chargeAnswer]) {
		t.Helper()
		before := b.hash()
		c := chargeCall{TransactionKey: s.TransactionKey, OrderKey: "goods-17", Amount: 15000, Currency: "KRW", Method: "card"}
		require.NoError(t, b.inTx(func(tx *bus.Tx) error {
			return b.module.service.onChargeComplete(t.Context(), tx, outbound.Call[chargeCall]{Payload: c}, out)
		}))
		require.Equal(t, before, b.hash(), "%v", out)
	}
	for _, failure := range []error{context.DeadlineExceeded, errs.New(errs.Resource, "503"), errors.New("not JSON"), errs.New(errs.Invalid, "a fault of ours")} {
		nothingChanges(outbound.Outcome[chargeAnswer]{Err: failure})
		nothingChanges(outbound.Outcome[chargeAnswer]{Result: chargeAnswer{unknown: failure}})
	}
	close(answer)
	b.ThenRow(`SELECT count(*) FROM gateway_results`, 1)
	nothingChanges(outbound.Outcome[chargeAnswer]{Result: chargeAnswer{refusal: &gateway.Refusal{Code: "limit_exceeded"}}}) // the gateway had reported PENDING
	require.Equal(t, 204, b.callback(b.result(s, gateway.Approved)), "a later result still counts")
	b.Then(paymentapi.Completed{OrderKey: "goods-17"})

	hold := make(chan struct{})
	b.gateway.onRefund = func(r gateway.Refund) (gateway.RefundResult, error) {
		<-hold
		return refundOf(r, gateway.Refunded), nil
	}
	b.When(paymentapi.Refund{OrderKey: "goods-17"})
	r := refundCall{RefundID: b.view(s).Refunds[0].RefundID, TransactionKey: s.TransactionKey, OrderKey: "goods-17", Amount: 15000, Currency: "KRW"}
	require.NoError(t, b.inTx(func(tx *bus.Tx) error {
		return b.module.service.onRefundComplete(t.Context(), tx, outbound.Call[refundCall]{Payload: r}, outbound.Outcome[refundAnswer]{Err: context.DeadlineExceeded})
	}))
	require.Equal(t, refunding, b.view(s).Status)
	require.Equal(t, refundAsked, b.view(s).Refunds[0].Status)
	close(hold)
	b.Then(paymentapi.Refunded{OrderKey: "goods-17"})
}

func TestPayment_NestedListsAreBounded(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := b.started("goods-17")
	require.Empty(t, b.view(s).Truncated)
	_, err := b.exec(`INSERT INTO payment_history (payment_id, status, captured, refunded, cause, detail)
		SELECT $1, 'pending', 0, 0, 'answer', n::text FROM generate_series(1, 130) n`, s.PaymentID)
	require.NoError(t, err)
	v := b.view(s)
	require.Equal(t, []string{"history"}, v.Truncated)
	require.Len(t, v.History, 100)
	require.Equal(t, "31", v.History[0].Detail)
	require.Equal(t, "130", v.History[99].Detail)
}
