package payment

import (
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/modules/payment/gateway"
	"millrace/modules/payment/paymentapi"
)

func TestPayment_CallbackCompletesIt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := b.started("goods-17")
	require.Equal(t, 204, b.callback(b.result(s, gateway.Approved)))
	b.Then(paymentapi.Completed{
		PaymentID: s.PaymentID, OrderKey: "goods-17", OrderKind: paymentapi.Goods, UserID: "user-9", Amount: 15000,
		Currency: "KRW", Provider: "simulator", TransactionKey: s.TransactionKey,
	})
	v := b.view(s)
	require.Equal(t, completed, v.Status)
	require.Equal(t, int64(15000), v.Captured)
	require.Equal(t, []status{pending, completed}, []status{v.History[0].Status, v.History[1].Status})
	require.Equal(t, []verdict{noted, settled}, []verdict{v.GatewayResults[0].Verdict, v.GatewayResults[1].Verdict})
	require.Empty(t, v.Refunds)
}

func TestRefund_RepeatedCommandRefundsOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := b.started("goods-17")
	require.Equal(t, 204, b.callback(b.result(s, gateway.Approved)))
	b.Then(paymentapi.Completed{OrderKey: "goods-17"})
	b.When(paymentapi.Refund{OrderKey: "goods-17", Reason: "Kim Minji, 010-1234-5678, moved", RequestID: "r-1"})
	b.Then(paymentapi.Refunded{PaymentID: s.PaymentID, OrderKey: "goods-17", Amount: 15000, Currency: "KRW", TransactionKey: s.TransactionKey, Reason: paymentapi.OtherReason})
	b.ThenAgainNothing()
	b.When(paymentapi.Refund{OrderKey: "goods-17", Reason: "another message about the same"})
	b.ThenNothing()
	require.Len(t, b.gateway.refundsAsked(), 1)
	v := b.view(s)
	require.Equal(t, refunded, v.Status)
	require.Equal(t, int64(15000), v.Refunded)
	require.Equal(t, refundDone, v.Refunds[0].Status)
	require.Equal(t, "r-1", v.Refunds[0].RequestID)
	require.Equal(t, "Kim Minji, 010-1234-5678, moved", v.Refunds[0].Reason, "the text is stored here only, not in events")
	require.Len(t, v.History, 4)
	require.Empty(t, b.DeadLetters())
}
