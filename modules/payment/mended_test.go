package payment

import (
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/modules/payment/gateway"
	"millrace/modules/payment/paymentapi"
	"millrace/platform/errs"
)

// handBack does what dispatch.Retry does, for the failed calls of a name.
func (b *bundle) handBack(name string) {
	b.t.Helper()
	b.ThenRow(`SELECT count(*) FROM dispatch WHERE state = 'failed' AND name = '`+name+`'`, 1)
	n, err := b.exec(`UPDATE dispatch SET state = 'pending', attempts = 0, next_at = now(), finished_at = NULL WHERE state = 'failed' AND name = $1`, name)
	require.NoError(b.t, err)
	require.EqualValues(b.t, 1, n)
}

// answerRefunds answers the n-th refund that is asked for; the last one repeats.
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

func TestARefusedRefundIsAFailedCallThatCountsWhenItSucceedsAfterAll(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.answerRefunds("unknown_charge", "unknown_charge")
	s := b.started("goods-17")
	require.Equal(t, 204, b.callback(b.result(s, gateway.Approved)))
	b.Then(paymentapi.Completed{OrderKey: "goods-17"})
	b.When(paymentapi.Refund{OrderKey: "goods-17", Reason: "damaged"})
	b.ThenRow(`SELECT status FROM refunds`, "refused")
	b.handBack("refund") // too early: refused once more
	b.ThenRow(`SELECT status, last_error FROM dispatch d, payments WHERE d.name = 'refund' AND state = 'failed'`, "completed", "unknown_charge: the gateway refuses the refund")
	b.ThenNothing()
	b.handBack("refund")
	b.Then(paymentapi.Refunded{OrderKey: "goods-17", Amount: 15000, Reason: "damaged"})
	v := b.view(s)
	require.Equal(t, refunded, v.Status)
	require.Equal(t, refundDone, v.Refunds[0].Status)
	require.Empty(t, v.Refunds[0].FailedReason)
	require.Equal(t, refunded, v.History[len(v.History)-1].Status)
	require.Equal(t, completed, v.History[len(v.History)-2].Status)
	require.Len(t, v.History, 5)
	b.ThenRow(everyChangeHasItsHistory, 0)
}

func TestARefusedRefundIsNotAskedForAgainWhenAnotherOneLives(t *testing.T) {
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
	b.handBack("refund")
	b.ThenRow(`SELECT count(*) FROM dispatch WHERE name = 'refund' AND state = 'done'`, 2)
	b.ThenNothing()
	require.Equal(t, before, b.view(s))
	require.Len(t, b.gateway.refundsAsked(), 2, "the money goes back once")
}

// A refused charge is an answer; and one that was given up is not made any more
// when the payment is final: the order may be paid by another one by then.
func TestAChargeOfAFinalPaymentIsNeverMadeAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.gateway.onCharge = func(gateway.Charge) (gateway.Result, error) {
		return gateway.Result{}, &errs.Error{Kind: errs.Invalid, Field: "limit", Msg: "refused"}
	}
	b.asked("goods-17")
	b.Then(paymentapi.Failed{OrderKey: "goods-17", FailedReason: "limit"})
	b.ThenRow(`SELECT state FROM dispatch`, "done")
	_, err := b.exec(`UPDATE dispatch SET state = 'failed'`)
	require.NoError(t, err)
	b.handBack("charge")
	b.ThenRow(`SELECT state FROM dispatch`, "done")
	b.ThenNothing()
	b.gateway.mu.Lock()
	defer b.gateway.mu.Unlock()
	require.Len(t, b.gateway.charges, 1)
}
