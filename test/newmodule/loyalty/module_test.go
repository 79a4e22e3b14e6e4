package loyalty_test

import (
	"testing"

	"millrace/modules/payment/paymentapi"
	"millrace/platform/bus"
	"millrace/platform/bus/bustest"
	"millrace/test/newmodule/loyalty"
	"millrace/test/newmodule/loyalty/loyaltyapi"
)

func TestModule_AwardsPointsOncePerPayment(t *testing.T) {
	t.Parallel()
	l := bustest.Start(t, func(db *bus.DB) bustest.Module { return loyalty.New(db) })
	l.When(paymentapi.Completed{PaymentID: "p-1", OrderKey: "goods-1", OrderKind: paymentapi.Goods, UserID: "kim", Amount: 12_000, Currency: "KRW"})
	l.Then(loyaltyapi.PointsAwarded{OrderKey: "goods-1", UserID: "kim", Points: 120})
	l.ThenAgainNothing() // the same message, delivered twice
	l.ThenRow(`SELECT points FROM account WHERE user_id = 'kim'`, 120)
}
