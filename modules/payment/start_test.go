package payment

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"millrace/modules/payment/gateway"
	"millrace/modules/payment/paymentapi"
)

func TestIdempotencyKey_RepeatedRequestGetsTheSameResponse(t *testing.T) {
	t.Parallel()
	b := setup(t)
	first := b.pay("key-1", bodyFor("goods-17"))
	require.Equal(t, http.StatusAccepted, first.Code)
	b.ThenRow(`SELECT count(*) FROM gateway_results`, 1)
	var transaction string
	require.NoError(t, b.db.QueryRowContext(t.Context(), `SELECT transaction_key FROM charges`).Scan(&transaction))
	require.Equal(t, 204, b.callback(b.result(started{TransactionKey: transaction, OrderKey: "goods-17"}, gateway.Approved)))
	before := b.hash()
	spaced := strings.ReplaceAll(bodyFor("goods-17"), ",", " ,\n ")
	for _, body := range []string{bodyFor("goods-17"), spaced} {
		again := b.pay("key-1", body)
		require.Equal(t, first.Code, again.Code)
		require.Equal(t, first.Body.String(), again.Body.String(), "even if the payment has changed since")
		require.Equal(t, first.Header().Get("Location"), again.Header().Get("Location"))
	}
	require.Equal(t, before, b.hash())

	other := b.pay("key-1", strings.Replace(bodyFor("goods-17"), "15000", "15001", 1))
	require.Equal(t, http.StatusUnprocessableEntity, other.Code)
	require.Contains(t, other.Body.String(), `"location":"header.Idempotency-Key"`)
	without := b.Do("POST /payments", bodyFor("goods-18"))
	require.Equal(t, http.StatusUnprocessableEntity, without.Code)
	require.Contains(t, without.Body.String(), "Idempotency-Key")
	require.Equal(t, before, b.hash())
}

func TestIdempotencyKey_BelongsToOneUser(t *testing.T) {
	t.Parallel()
	b := setup(t)
	theirs := b.pay("key-1", bodyFor("goods-17"))
	mine := b.pay("key-1", strings.Replace(bodyFor("goods-18"), "user-9", "user-10", 1))
	require.Equal(t, []int{http.StatusAccepted, http.StatusAccepted}, []int{theirs.Code, mine.Code})
	require.NotEqual(t, theirs.Body.String(), mine.Body.String())
	require.Equal(t, theirs.Body.String(), b.pay("key-1", bodyFor("goods-17")).Body.String())
	b.ThenRow(`SELECT count(*) FROM payments`, 2)
}

func TestStartPayment_OrderHasOnePaymentAtATime(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := b.started("goods-17")
	refused := b.pay("key-2", bodyFor("goods-17"))
	require.Equal(t, http.StatusConflict, refused.Code)
	require.Contains(t, refused.Body.String(), `"location":"body.orderKey"`)

	require.Equal(t, 204, b.callback(b.result(s, gateway.Declined)))
	b.Then(paymentapi.Failed{OrderKey: "goods-17", FailedReason: "insufficient_funds"})
	again := b.pay("key-2", bodyFor("goods-17"))
	require.Equal(t, http.StatusConflict, again.Code, "a refusal is stored with its key, too")

	second := b.started("goods-17")
	require.Equal(t, 204, b.callback(b.result(second, gateway.Approved)))
	b.Then(paymentapi.Completed{OrderKey: "goods-17", PaymentID: second.PaymentID})
	require.Equal(t, http.StatusConflict, b.pay("key-3", bodyFor("goods-17")).Code, "paid")
	b.When(paymentapi.Refund{OrderKey: "goods-17", Reason: "test"})
	b.Then(paymentapi.Refunded{OrderKey: "goods-17"})
	response := b.pay("key-4", bodyFor("goods-17"))
	require.Equal(t, http.StatusConflict, response.Code, "refunded")
	require.Contains(t, response.Body.String(), "this order was paid, and refunded, by payment "+second.PaymentID+": a new order needs a new key")
}

func TestStartPayment_ConcurrentRequestsMakeOnePayment(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for name, key := range map[string]func(int) string{
		"one-key":  func(int) string { return "the same key" },
		"own-keys": func(i int) string { return fmt.Sprint("key ", i) },
	} {
		codes := make([]int, 8)
		var all sync.WaitGroup
		for i := range codes {
			all.Go(func() { codes[i] = b.pay(key(i)+name, bodyFor("goods-"+name)).Code })
		}
		all.Wait()
		accepted := 0
		for _, code := range codes {
			require.Contains(t, []int{http.StatusAccepted, http.StatusConflict}, code)
			if code == http.StatusAccepted {
				accepted++
			}
		}
		require.Equal(t, map[string]int{"one-key": 8, "own-keys": 1}[name], accepted)
		b.ThenRow(`SELECT count(*) FROM payments WHERE order_key = 'goods-`+name+`'`, 1)
	}
}

func TestStartPayment_InvalidRequestNamesFieldAndStoresNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	before := b.hash()
	good := bodyFor("goods-17")
	for field, bodies := range map[string][]string{
		"orderKey": {bodyFor("gift-17"), bodyFor("goods-"), bodyFor("deposit-abc"), bodyFor("deposit-0"), bodyFor("deposit--1"), bodyFor("deposit-9223372036854775808"), bodyFor("goods-ü"), bodyFor("goods-" + strings.Repeat("x", 64)), strings.Replace(good, `"orderKey":"goods-17",`, "", 1)},
		"userId":   {strings.Replace(good, "user-9", "", 1), strings.Replace(good, "user-9", "a b", 1), strings.Replace(good, "user-9", "..", 1), strings.Replace(good, "user-9", "kim.", 1), strings.Replace(good, "user-9", "010-1234-5678", 1), strings.Replace(good, "user-9", "kim@example.com", 1)},
		"amount":   {strings.Replace(good, "15000", "0", 1), strings.Replace(good, "15000", "-1", 1), strings.Replace(good, "15000", "1.5", 1), strings.Replace(good, "15000", "1000000000000", 1), strings.Replace(good, "15000", `"1"`, 1)},
		"currency": {strings.Replace(good, "KRW", "krw", 1), strings.Replace(good, "KRW", "XXX", 1), strings.Replace(good, "KRW", "DEM", 1), strings.Replace(good, "KRW", "BGN", 1), strings.Replace(good, "KRW", "KRWX", 1)},
		"method":   {strings.Replace(good, `"card"`, `"4111111111111111"`, 1), strings.Replace(good, `"card"`, `""`, 1)},
	} {
		for _, body := range bodies {
			response := b.pay(uuid.NewString(), body)
			require.Equal(t, http.StatusUnprocessableEntity, response.Code, body)
			require.Contains(t, response.Body.String(), `"location":"body.`+field, body)
			require.NotContains(t, response.Body.String(), "4111111111111111")
		}
	}
	require.Equal(t, http.StatusNotFound, b.Do("GET /payments/"+uuid.NewString(), "").Code)
	require.Equal(t, http.StatusUnprocessableEntity, b.Do("GET /payments/17", "").Code)
	require.Equal(t, before, b.hash())
}
