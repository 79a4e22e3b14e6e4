package payment

import (
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/modules/payment/gateway"
	"millrace/modules/payment/paymentapi"
)

// retryFailedCall retries the failed outbound call with this name, as
// outbound.Retry does.
func (b *bundle) retryFailedCall(name string) {
	b.t.Helper()
	b.ThenRow(`SELECT count(*) FROM outbound_calls WHERE state = 'failed' AND name = '`+name+`'`, 1)
	n, err := b.exec(`UPDATE outbound_calls SET state = 'pending', attempts = 0, next_at = now(), completed_at = NULL WHERE state = 'failed' AND name = $1`, name)
	require.NoError(b.t, err)
	require.EqualValues(b.t, 1, n)
}

// answerRefunds makes the gateway refuse the first refunds, one for each given
// reason. Later refunds succeed.
func (b *bundle) answerRefunds(refusals ...string) {
	b.gateway.mu.Lock()
	defer b.gateway.mu.Unlock()
	b.gateway.onRefund = func(r gateway.Refund) (gateway.RefundResult, error) {
		b.gateway.mu.Lock()
		defer b.gateway.mu.Unlock()
		if len(refusals) == 0 {
			return refundOf(r, gateway.Refunded), nil
		}
		g := refundOf(r, gateway.Refused)
		g.FailedReason, refusals = refusals[0], refusals[1:]
		return g, nil
	}
}

func TestRefund_RetriedCallAfterRefusalCompletesRefund(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.answerRefunds("unknown_charge", "unknown_charge")
	s := b.started("goods-17")
	require.Equal(t, 204, b.callback(b.result(s, gateway.Approved)))
	b.Then(paymentapi.Completed{OrderKey: "goods-17"})
	b.When(paymentapi.Refund{OrderKey: "goods-17", Reason: "damaged"})
	b.ThenRow(`SELECT status FROM refunds`, "refused")
	b.retryFailedCall("refund") // the retry is refused again
	b.ThenRow(`SELECT status, last_error FROM outbound_calls d, payments WHERE d.name = 'refund' AND state = 'failed'`, "completed", "unknown_charge: the gateway refuses the refund")
	b.ThenNothing()
	b.retryFailedCall("refund")
	b.Then(paymentapi.Refunded{OrderKey: "goods-17", Amount: 15000, Reason: paymentapi.OtherReason})
	v := b.view(s)
	require.Equal(t, refunded, v.Status)
	require.Equal(t, refundDone, v.Refunds[0].Status)
	require.Empty(t, v.Refunds[0].FailedReason)
	require.Equal(t, refunded, v.History[len(v.History)-1].Status)
	require.Equal(t, completed, v.History[len(v.History)-2].Status)
	require.Len(t, v.History, 5)
	b.ThenRow(everyChangeHasItsHistory, 0)
}

func TestRefund_RetriedCallDoesNothingWhenAnotherRefundIsLive(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.answerRefunds("limit")
	s := b.started("goods-17")
	require.Equal(t, 204, b.callback(b.result(s, gateway.Approved)))
	b.When(paymentapi.Refund{OrderKey: "goods-17"})
	b.ThenRow(`SELECT status FROM refunds`, "refused")
	b.When(paymentapi.Refund{OrderKey: "goods-17"})
	b.Then(paymentapi.Completed{OrderKey: "goods-17"}, paymentapi.Refunded{OrderKey: "goods-17"})
	before := b.view(s)
	b.retryFailedCall("refund")
	b.ThenRow(`SELECT count(*) FROM outbound_calls WHERE name = 'refund' AND state = 'succeeded'`, 2)
	b.ThenNothing()
	require.Equal(t, before, b.view(s))
	require.Len(t, b.gateway.refundsAsked(), 2, "the money is returned once")
}

// A retried call does not charge if the payment is final, because another payment
// of the order may have succeeded by then.
func TestCharge_RetriedCallOfFinalPaymentDoesNotCharge(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.gateway.onCharge = func(gateway.Charge) (gateway.Result, error) {
		return gateway.Result{}, &gateway.Refusal{Code: "limit"}
	}
	b.asked("goods-17")
	b.Then(paymentapi.Failed{OrderKey: "goods-17", FailedReason: "limit"})
	b.ThenRow(`SELECT state FROM outbound_calls`, "succeeded")
	_, err := b.exec(`UPDATE outbound_calls SET state = 'failed'`)
	require.NoError(t, err)
	b.retryFailedCall("charge")
	b.ThenRow(`SELECT state FROM outbound_calls`, "succeeded")
	b.ThenNothing()
	b.gateway.mu.Lock()
	defer b.gateway.mu.Unlock()
	require.Len(t, b.gateway.charges, 1)
}
