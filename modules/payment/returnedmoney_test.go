package payment

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/modules/payment/gateway"
	"millrace/modules/payment/paymentapi"
)

// paid starts a payment that the gateway approves.
func (b *bundle) paid(orderKey string) started {
	b.t.Helper()
	s := b.started(orderKey)
	require.Equal(b.t, 204, b.callback(b.result(s, gateway.Approved)))
	b.Then(paymentapi.Completed{PaymentID: s.PaymentID, OrderKey: orderKey})
	return s
}

// part sends a callback about returned money; canceled is the returned total.
func (b *bundle) part(s started, status gateway.Status, amount, canceled int64) int {
	b.t.Helper()
	r := b.result(s, status)
	r.Amount, r.CanceledAmount = amount, canceled
	return b.callback(r)
}

func TestReturnedMoney_FullReturnRefundsPayment(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status           gateway.Status
		amount, canceled int64
	}{
		"Refunded":          {gateway.Refunded, 15000, 0},
		"RefundedWithTotal": {gateway.Refunded, 15000, 15000},
		"Canceled":          {gateway.Canceled, 15000, 0},
		"CanceledWithTotal": {gateway.Canceled, 15000, 15000},
		"PartialOfAll":      {gateway.PartialCanceled, 15000, 15000}, // the amount takes precedence over the status
		"ApprovedWithTotal": {gateway.Approved, 15000, 15000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			s := b.started("goods-17")
			first := b.result(s, gateway.Approved)
			require.Equal(t, 204, b.callback(first))
			b.Then(paymentapi.Completed{OrderKey: "goods-17"})
			require.Equal(t, 204, b.part(s, c.status, c.amount, c.canceled))
			b.Then(paymentapi.Refunded{PaymentID: s.PaymentID, OrderKey: "goods-17", Amount: 15000, Reason: "provider_canceled"})
			v := b.view(s)
			require.Equal(t, refunded, v.Status)
			require.Equal(t, int64(15000), v.Refunded)
			require.Equal(t, byProvider, v.History[len(v.History)-1].Cause)
			require.Equal(t, refundDone, v.Refunds[0].Status)
			require.Len(t, v.NeedsAttention, 1)
			require.Equal(t, "provider_refund", string(v.NeedsAttention[0].Reason))
			before := b.hash()
			require.Equal(t, 204, b.part(s, c.status, c.amount, c.canceled), "a copy")
			require.Equal(t, before, b.hash())
			b.When(paymentapi.Refund{OrderKey: "goods-17"})
			b.ThenNothing()
			require.Empty(t, b.gateway.refundsAsked(), "nothing is left to refund")
			require.Empty(t, b.DeadLetters())
		})
	}
}

func TestReturnedMoney_PartsAreListedAndPaymentStaysCompleted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := b.paid("goods-17")
	require.Equal(t, 204, b.part(s, gateway.PartialCanceled, 15000, 5000))
	v := b.view(s)
	require.Equal(t, completed, v.Status)
	require.Equal(t, int64(5000), v.Refunded)
	require.Equal(t, "PARTIAL_CANCELED: 5000 of 15000 KRW went back", v.History[2].Detail)
	require.Equal(t, "partial_cancel", string(v.NeedsAttention[0].Reason))
	before := b.hash()
	require.Equal(t, 204, b.part(s, gateway.PartialCanceled, 15000, 5000), "a copy")
	require.Equal(t, 204, b.part(s, gateway.PartialCanceled, 15000, 3000), "an older total, arriving late")
	require.Equal(t, before, b.hash())
	require.Equal(t, 204, b.part(s, gateway.PartialCanceled, 3000, 0), "the part's amount, as some providers send it")
	require.Equal(t, int64(8000), b.view(s).Refunded)
	b.ThenNothing()

	b.When(paymentapi.Refund{OrderKey: "goods-17", Reason: "damaged"})
	b.Then(paymentapi.Refunded{OrderKey: "goods-17", Amount: 15000, Reason: paymentapi.OtherReason})
	require.Equal(t, int64(7000), b.gateway.refundsAsked()[0].Amount, "the rest")
	b.ThenRow(`SELECT string_agg(refunded::text, ',' ORDER BY history_id) FROM payment_history`, "0,0,5000,8000,8000,15000")
	b.ThenRow(everyChangeHasItsHistory, 0)
}

func TestReturnedMoney_PartWithoutAmountIsListedAndChangesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := b.paid("goods-17")
	require.Equal(t, 204, b.part(s, gateway.PartialCanceled, 15000, 0))
	require.Equal(t, int64(0), b.view(s).Refunded)
	require.Equal(t, "a part went back, and the provider does not report how much", b.view(s).NeedsAttention[0].Detail)
	require.Equal(t, 204, b.part(s, gateway.PartialCanceled, 15000, 2000), "a later report with an amount counts")
	require.Equal(t, int64(2000), b.view(s).Refunded)
}

func TestReturnedMoney_MoreThanChargedIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := b.paid("goods-17")
	before := b.hash()
	require.Equal(t, 422, b.part(s, gateway.PartialCanceled, 15000, 15001))
	require.Equal(t, 422, b.part(s, gateway.PartialCanceled, 15000, -1))
	require.Equal(t, 422, b.part(s, gateway.PartialCanceled, 15001, 0))
	require.Equal(t, 422, b.part(s, gateway.Refunded, 20000, 0))
	require.Equal(t, 422, b.part(s, gateway.Approved, 5000, 0), "APPROVED must have the charge's amount")
	require.Equal(t, before, b.hash())
}

// The callback of the capture was lost, or arrives after that of the return.
func TestReturnedMoney_PendingPaymentIsCapturedFirst(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := b.started("goods-17")
	require.Equal(t, 204, b.part(s, gateway.Refunded, 15000, 15000))
	b.Then(paymentapi.Completed{PaymentID: s.PaymentID}, paymentapi.Refunded{PaymentID: s.PaymentID})
	require.Equal(t, 204, b.callback(b.result(s, gateway.Approved)))
	require.Equal(t, refunded, b.view(s).Status)
	part := b.started("goods-18")
	require.Equal(t, 204, b.part(part, gateway.PartialCanceled, 15000, 4000))
	b.Then(paymentapi.Completed{PaymentID: part.PaymentID})
	require.Equal(t, int64(4000), b.view(part).Refunded)
	b.ThenRow(everyChangeHasItsHistory, 0)
}

func TestReturnedMoney_CanceledBeforeCaptureFailsPayment(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := b.started("goods-17")
	require.Equal(t, 204, b.part(s, gateway.Canceled, 15000, 0))
	b.Then(paymentapi.Failed{OrderKey: "goods-17", FailedReason: "canceled"})
	require.Empty(t, b.view(s).NeedsAttention)
	captured := b.started("goods-18")
	require.Equal(t, 204, b.part(captured, gateway.Canceled, 15000, 15000), "a canceled amount implies a capture")
	b.Then(paymentapi.Completed{OrderKey: "goods-18"}, paymentapi.Refunded{OrderKey: "goods-18"})
}

// The provider reports the full return while our own refund is in progress. Both
// are the same money.
func TestReturnedMoney_DuringOurRefundCountsOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	hold := make(chan struct{})
	b.gateway.onRefund = func(r gateway.Refund) (gateway.RefundResult, error) {
		<-hold
		return refundOf(r, gateway.Refunded), nil
	}
	s := b.paid("goods-17")
	b.When(paymentapi.Refund{OrderKey: "goods-17", Reason: "damaged"})
	require.Equal(t, 204, b.part(s, gateway.Canceled, 15000, 15000))
	b.Then(paymentapi.Refunded{OrderKey: "goods-17", Reason: paymentapi.OtherReason, Amount: 15000})
	close(hold)
	b.ThenRow(`SELECT count(*) FROM outbound_calls WHERE state = 'succeeded'`, 2)
	b.ThenNothing()
	v := b.view(s)
	require.Equal(t, int64(15000), v.Refunded)
	require.Len(t, v.Refunds, 1)
	require.Empty(t, v.NeedsAttention)
}

// A part is returned at the provider while our full refund is in progress. Our
// refund is refused, and a new one requests the rest.
func TestReturnedMoney_PartDuringOurRefundLeavesRestToRefund(t *testing.T) {
	t.Parallel()
	b := setup(t)
	asked, hold := make(chan struct{}), make(chan struct{})
	n := 0
	b.gateway.onRefund = func(r gateway.Refund) (gateway.RefundResult, error) {
		if n++; n > 1 {
			return refundOf(r, gateway.Refunded), nil
		}
		close(asked)
		<-hold
		g := refundOf(r, gateway.Refused)
		g.FailedReason = "amount"
		return g, nil
	}
	s := b.paid("goods-17")
	b.When(paymentapi.Refund{OrderKey: "goods-17", Reason: "damaged"})
	<-asked
	require.Equal(t, 204, b.part(s, gateway.PartialCanceled, 15000, 5000))
	close(hold)
	b.Then(paymentapi.Refunded{OrderKey: "goods-17", Amount: 15000, Reason: paymentapi.OtherReason})
	all := b.gateway.refundsAsked()
	require.Equal(t, []int64{15000, 10000}, []int64{all[0].Amount, all[1].Amount})
	require.Equal(t, refunded, b.view(s).Status)
	b.ThenRow(everyChangeHasItsHistory, 0)
}

func TestReturnedMoney_RefusedRefundMadeAtProviderEndsAttentionItem(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.answerRefunds("account_closed")
	s := b.paid("goods-17")
	b.When(paymentapi.Refund{OrderKey: "goods-17", Reason: "damaged"})
	b.ThenRow(`SELECT reason FROM attention WHERE ended_at IS NULL`, "refund_refused")
	require.Equal(t, 204, b.part(s, gateway.Refunded, 15000, 15000))
	b.Then(paymentapi.Refunded{OrderKey: "goods-17"})
	b.ThenRow(`SELECT count(*) FROM attention WHERE ended_at IS NULL`, 0)
}

// Totals arrive concurrently and in any order. The greatest one counts, and the
// refunded amount never falls.
func TestReturnedMoney_ConcurrentTotalsCountOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := b.paid("goods-17")
	var all sync.WaitGroup
	for _, canceled := range []int64{1000, 7000, 2000, 15000, 3000, 7000, 15000, 14999} {
		all.Go(func() {
			if code := b.part(s, gateway.PartialCanceled, 15000, canceled); code != 204 {
				t.Errorf("%d: %d", canceled, code)
			}
		})
	}
	all.Wait()
	b.Then(paymentapi.Refunded{OrderKey: "goods-17", Amount: 15000})
	b.ThenRow(`SELECT count(*) FROM (SELECT refunded < lag(refunded, 1, 0::bigint) OVER (ORDER BY history_id) AS falls FROM payment_history) h WHERE falls`, 0)
	b.ThenRow(everyChangeHasItsHistory, 0)
}
