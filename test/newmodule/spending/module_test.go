package spending_test

import (
	"testing"

	"millrace/modules/payment/paymentapi"
	"millrace/platform/bus"
	"millrace/platform/bus/bustest"
	"millrace/test/newmodule/spending"
)

func TestModule_AsksForARefundAboveTheLimit(t *testing.T) {
	t.Parallel()
	paid := func(order string, amount int64) paymentapi.Completed {
		return paymentapi.Completed{PaymentID: "p-" + order, OrderKey: order, OrderKind: paymentapi.Goods, UserID: "kim", Amount: amount, Currency: "KRW"}
	}
	s := bustest.Start(t, func(db *bus.DB) bustest.Module { return spending.New(db) })
	s.When(paid("goods-1", 90_000_000))
	s.ThenNothing()
	s.When(paid("goods-2", 20_000_000))
	s.Then(paymentapi.Refund{OrderKey: "goods-2", PaymentID: "p-goods-2", Reason: paymentapi.OtherReason})
	s.ThenAgainNothing() // the same message, delivered twice
	s.When(paymentapi.Refunded{PaymentID: "p-goods-2", OrderKey: "goods-2", OrderKind: paymentapi.Goods, UserID: "kim", Amount: 20_000_000, Currency: "KRW"})
	s.When(paid("goods-3", 10_000_000))
	s.ThenNothing()
	s.ThenRow(`SELECT amount FROM spent WHERE user_id = 'kim'`, 100_000_000)
}
