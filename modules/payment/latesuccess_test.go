package payment

import (
	"fmt"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"millrace/modules/payment/gateway"
	"millrace/modules/payment/paymentapi"
)

// declined starts a payment that the gateway declines.
func (b *bundle) declined(orderKey string) started {
	b.t.Helper()
	s := b.started(orderKey)
	require.Equal(b.t, 204, b.callback(b.result(s, gateway.Declined)))
	b.Then(paymentapi.Failed{PaymentID: s.PaymentID, OrderKey: orderKey})
	return s
}

func TestLateSuccess_CompletesPaymentIfOrderHasNoOther(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := b.declined("goods-17")
	for range 3 { // the copies change nothing
		require.Equal(t, 204, b.callback(b.result(s, gateway.Approved)))
	}
	b.Then(paymentapi.Completed{PaymentID: s.PaymentID, OrderKey: "goods-17", Amount: 15000})
	v := b.view(s)
	require.Equal(t, completed, v.Status)
	require.Empty(t, v.FailedReason)
	require.Equal(t, []status{pending, failed, completed}, []status{v.History[0].Status, v.History[1].Status, v.History[2].Status})
	require.Equal(t, reopened, v.GatewayResults[2].Verdict)
	require.Len(t, v.NeedsAttention, 1)
	require.Equal(t, "late_success", string(v.NeedsAttention[0].Reason))
	require.Equal(t, "it had failed: insufficient_funds", v.NeedsAttention[0].Detail)
	refused := b.pay(uuid.NewString(), bodyFor("goods-17"))
	require.Equal(t, 409, refused.Code)
	require.Contains(t, refused.Body.String(), "was paid by payment "+s.PaymentID)
	b.ThenRow(everyChangeHasItsHistory, 0)
}

func TestLateSuccess_FoundByLookupAfterRefusalCompletesPayment(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.gateway.onCharge = func(gateway.Charge) (gateway.Result, error) {
		return gateway.Result{}, &gateway.Refusal{Code: "limit_exceeded"}
	}
	s := b.asked("goods-17")
	b.Then(paymentapi.Failed{OrderKey: "goods-17", FailedReason: "limit_exceeded"})
	require.NoError(t, b.inTx(resultOfLookup(b, s)))
	b.Then(paymentapi.Completed{PaymentID: s.PaymentID})
}

func TestLateSuccess_StartsDroppedRefund(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := b.started("goods-17")
	b.When(paymentapi.Refund{OrderKey: "goods-17", Reason: "changed my mind"})
	require.Equal(t, 204, b.callback(b.result(s, gateway.Declined)))
	b.Then(paymentapi.Failed{OrderKey: "goods-17"})
	require.Equal(t, 204, b.callback(b.result(s, gateway.Approved)))
	b.Then(paymentapi.Completed{OrderKey: "goods-17"}, paymentapi.Refunded{OrderKey: "goods-17", Reason: paymentapi.OtherReason})
	require.Equal(t, refunded, b.view(s).Status)
}

// The late charge is refunded, whatever the state of the other payment, which does
// not change.
func TestLateSuccess_IsRefundedIfOrderHasAnotherPayment(t *testing.T) {
	t.Parallel()
	for _, other := range []status{pending, completed, refunded} {
		t.Run("OtherPayment="+string(other), func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			first := b.declined("goods-17")
			second := b.started("goods-17")
			if other != pending {
				require.Equal(t, 204, b.callback(b.result(second, gateway.Approved)))
				b.Then(paymentapi.Completed{PaymentID: second.PaymentID})
			}
			if other == refunded {
				b.When(paymentapi.Refund{OrderKey: "goods-17"})
				b.Then(paymentapi.Refunded{PaymentID: second.PaymentID})
			}
			for range 2 {
				require.Equal(t, 204, b.callback(b.result(first, gateway.Approved)))
			}
			b.Then(paymentapi.Refunded{PaymentID: first.PaymentID, OrderKey: "goods-17", Amount: 15000, Reason: "duplicate_charge", Duplicate: true})
			v := b.view(first)
			require.Equal(t, refunded, v.Status)
			require.Equal(t, "goods-17", v.OrderKey)
			require.Equal(t, []int64{15000, 15000}, []int64{v.Captured, v.Refunded})
			require.Equal(t, "duplicate_charge", string(v.NeedsAttention[0].Reason))
			require.Equal(t, other, b.view(second).Status)
			all := b.gateway.refundsAsked()
			require.Equal(t, first.TransactionKey, all[len(all)-1].TransactionKey)
			b.ThenRow(everyChangeHasItsHistory, 0)
			b.When(paymentapi.Refund{OrderKey: "goods-17", PaymentID: first.PaymentID})
			b.ThenNothing()
			require.Len(t, b.gateway.refundsAsked(), len(all), "it is refunded once")
		})
	}
}

// The order stays closed during the refund, even if its other payment has failed
// in the meantime.
func TestLateSuccess_OrderCannotBePaidUntilRefunded(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.answerRefunds("account_closed")
	first := b.declined("goods-17")
	second := b.started("goods-17")
	require.Equal(t, 204, b.callback(b.result(first, gateway.Approved)))
	b.ThenRow(`SELECT status FROM refunds`, "refused")
	require.Equal(t, 204, b.callback(b.result(second, gateway.Declined)))
	b.Then(paymentapi.Failed{PaymentID: second.PaymentID})
	v := b.view(first)
	require.Equal(t, refunding, v.Status, "the money is owed")
	require.Len(t, v.NeedsAttention, 2)
	refusal := b.pay(uuid.NewString(), bodyFor("goods-17"))
	require.Equal(t, 409, refusal.Code)
	require.Contains(t, refusal.Body.String(), first.PaymentID+" of this order succeeded late and is being refunded")
	require.Equal(t, 202, b.pay(uuid.NewString(), bodyFor("goods-18")).Code, "other orders can be paid")

	b.retryFailedCall("refund")
	b.Then(paymentapi.Refunded{PaymentID: first.PaymentID, Duplicate: true})
	b.ThenRow(`SELECT count(*) FROM attention WHERE ended_at IS NULL AND reason = 'refund_refused'`, 0)
	third := b.asked("goods-17")
	require.NotEqual(t, second.PaymentID, third.PaymentID)
}

// Late successes of several payments of an order arrive concurrently with a new
// request to pay, and each callback arrives twice.
func TestLateSuccess_ConcurrentResultsLeaveOnePaymentPerOrder(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const orders = 12
	var all sync.WaitGroup
	for n := range orders {
		order := fmt.Sprintf("goods-%d", n)
		attempts := make([]started, 0, 3)
		for range 3 {
			s := b.started(order)
			require.Equal(t, 204, b.callback(b.result(s, gateway.Declined)))
			attempts = append(attempts, s)
		}
		all.Go(func() { b.pay(uuid.NewString(), bodyFor(order)) })
		for _, s := range attempts {
			for range 2 {
				all.Go(func() {
					if code := b.callback(b.result(s, gateway.Approved)); code != 204 {
						t.Errorf("%s: %d", order, code)
					}
				})
			}
		}
	}
	all.Wait()
	b.ThenRow(`SELECT count(*) FROM payments WHERE status = 'refunding'`, 0)
	b.ThenRow(`SELECT max(n) FROM (SELECT count(*) AS n FROM payments WHERE status IN ('pending', 'completed') GROUP BY coalesce(released_order_key, order_key)) o`, 1)
	b.ThenRow(`SELECT count(*), count(DISTINCT key), sum(captured) FILTER (WHERE status = 'completed') IS NOT NULL FROM log, payments WHERE type = 'payment.completed' AND convert_from(payload, 'UTF8')::json->>'paymentId' = payment_id::text`,
		b.count(`payments WHERE status = 'completed'`), b.count(`payments WHERE status = 'completed'`), true)
	b.ThenRow(`SELECT count(*) FROM payments WHERE captured > 0`, 3*orders)
	b.ThenRow(`SELECT count(*) FROM refunds WHERE status = 'done'`, b.count(`payments WHERE status = 'refunded'`))
	b.ThenRow(everyChangeHasItsHistory, 0)
	require.Empty(t, b.DeadLetters())
}

// A consultation's deposits all have the same order key.
func TestDeposit_CanBePaidAgainOnlyAfterFullRefund(t *testing.T) {
	t.Parallel()
	b := setup(t)
	first := b.started("deposit-42")
	require.Contains(t, b.pay(uuid.NewString(), bodyFor("deposit-42")).Body.String(), "is being paid by payment "+first.PaymentID)
	require.Equal(t, 204, b.callback(b.result(first, gateway.Approved)))
	require.Contains(t, b.pay(uuid.NewString(), bodyFor("deposit-42")).Body.String(), "was paid by payment "+first.PaymentID)
	part := b.result(first, gateway.PartialCanceled)
	part.CanceledAmount = 5000
	require.Equal(t, 204, b.callback(part))
	partly := b.pay(uuid.NewString(), bodyFor("deposit-42"))
	require.Equal(t, 409, partly.Code)
	require.Contains(t, partly.Body.String(), "5000 of 15000 KRW (minor units) went back")

	hold := make(chan struct{})
	b.gateway.mu.Lock()
	b.gateway.onRefund = func(r gateway.Refund) (gateway.RefundResult, error) {
		<-hold
		return refundOf(r, gateway.Refunded), nil
	}
	b.gateway.mu.Unlock()
	b.When(paymentapi.Refund{OrderKey: "deposit-42", PaymentID: first.PaymentID, Reason: "cancelled"})
	going := b.pay(uuid.NewString(), bodyFor("deposit-42"))
	require.Equal(t, 409, going.Code)
	require.Contains(t, going.Body.String(), "is being refunded: pay again when it has gone back")
	close(hold)
	b.Then(paymentapi.Completed{PaymentID: first.PaymentID}, paymentapi.Refunded{PaymentID: first.PaymentID, Amount: 15000})

	second := b.started("deposit-42")
	require.Equal(t, 204, b.callback(b.result(second, gateway.Approved)))
	b.Then(paymentapi.Completed{PaymentID: second.PaymentID, OrderKey: "deposit-42"})
	require.Equal(t, "deposit-42", b.view(first).OrderKey)
	b.When(paymentapi.Refund{OrderKey: "deposit-42", PaymentID: first.PaymentID, Reason: "an older command, repeated"})
	b.ThenNothing()
	require.Equal(t, completed, b.view(second).Status)
	b.When(paymentapi.Refund{OrderKey: "deposit-42", PaymentID: second.PaymentID, Reason: "cancelled again"})
	b.Then(paymentapi.Refunded{PaymentID: second.PaymentID, OrderKey: "deposit-42"})
	third := b.started("deposit-42")
	require.Equal(t, 204, b.callback(b.result(first, gateway.Approved)), "a late copy of the first payment's callback")
	require.Equal(t, pending, b.view(third).Status)
	require.Empty(t, b.DeadLetters())
}

func TestDeposit_ConcurrentRequestsAfterRefundMakeOnePayment(t *testing.T) {
	t.Parallel()
	b := setup(t)
	first := b.started("deposit-42")
	require.Equal(t, 204, b.callback(b.result(first, gateway.Approved)))
	b.When(paymentapi.Refund{OrderKey: "deposit-42"})
	b.ThenRow(`SELECT status FROM payments`, "refunded")
	codes := make([]int, 8)
	var all sync.WaitGroup
	for i := range codes {
		all.Go(func() { codes[i] = b.pay(uuid.NewString(), bodyFor("deposit-42")).Code })
	}
	all.Wait()
	accepted := 0
	for _, code := range codes {
		if code == 202 {
			accepted++
		}
	}
	require.Equal(t, 1, accepted, "%v", codes)
	_, err := b.exec(`INSERT INTO payments (payment_id, order_key, order_kind, user_id, amount, currency, method, provider, status)
		VALUES (gen_random_uuid(), 'deposit-42', 'deposit', 'u', 1, 'KRW', 'card', 'x', 'pending')`)
	require.ErrorContains(t, err, "payments_one_per_order", "a unique index enforces it, too")
}
