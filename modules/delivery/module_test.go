package delivery_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/modules/delivery"
	"millrace/modules/delivery/deliveryapi"
	"millrace/modules/payment/paymentapi"
	"millrace/platform/bus"
	"millrace/platform/bus/bustest"
)

func start(t *testing.T, cfg delivery.Config) *bustest.Harness {
	t.Helper()
	return bustest.Start(t, func(db *bus.DB) bustest.Module { return delivery.New(db, cfg) })
}

const order = "goods-17"

func address(postcode string) string {
	return fmt.Sprintf(`{"name":"김하늘","phone":"+82 10-1234-5678","postcode":%q,"line1":"세종대로 110"}`, postcode)
}

func completed(orderKey string) paymentapi.Completed {
	return paymentapi.Completed{
		PaymentID: "pay-of-" + orderKey, OrderKey: orderKey, OrderKind: paymentapi.Goods, UserID: "1001", Amount: 15000, Currency: "KRW",
	}
}

func refundOf(orderKey string) paymentapi.Refunded {
	return paymentapi.Refunded{
		PaymentID: "pay-of-" + orderKey, OrderKey: orderKey, OrderKind: paymentapi.Goods, UserID: "1001", Amount: 15000, Currency: "KRW", Reason: "customer asked",
	}
}

// historyOf returns the actions in the history of an order's delivery.
func historyOf(t *testing.T, d *bustest.Harness, orderKey string) (all []string) {
	t.Helper()
	var view struct {
		History []struct {
			Action string `json:"action"`
			From   string `json:"from"`
			To     string `json:"to"`
		} `json:"history"`
	}
	require.NoError(t, json.Unmarshal(d.Given("GET /deliveries/"+orderKey, "").Body.Bytes(), &view))
	state := ""
	for _, h := range view.History {
		require.Equal(t, state, h.From, "each row starts in the state that the previous one ended in")
		state = h.To
		all = append(all, h.Action)
	}
	return all
}

func TestDelivery_PaidOrderWithAddressIsPrepared(t *testing.T) {
	t.Parallel()
	d := start(t, delivery.Config{})
	d.Given("PUT /deliveries/goods-17/address", address("04524"))
	d.ThenNothing()
	d.When(completed(order))
	d.Then(deliveryapi.Prepared{OrderKey: order, UserID: "1001"})
	d.ThenAgainNothing()
	d.ThenRow(`SELECT count(*), min(state), min(payment_id) FROM deliveries`, 1, "prepared", "pay-of-goods-17")
	require.Equal(t, []string{"prepare"}, historyOf(t, d, order))
}

func TestDelivery_AddressAfterPaymentPreparesIt(t *testing.T) {
	t.Parallel()
	d := start(t, delivery.Config{})
	d.When(completed(order))
	d.ThenNothing()
	d.ThenRow(`SELECT state FROM deliveries`, "awaiting_address")
	d.Given("PUT /deliveries/goods-17/address", address("04524"))
	d.Then(deliveryapi.Prepared{OrderKey: order, UserID: "1001"})
	d.Given("PUT /deliveries/goods-17/address", address("04524"))
	d.ThenNothing()
	require.Equal(t, []string{"await", "prepare"}, historyOf(t, d, order))
}

func TestDelivery_UnservedAddressRequestsRefund(t *testing.T) {
	t.Parallel()
	d := start(t, delivery.Config{})
	failed := deliveryapi.Failed{OrderKey: order, UserID: "1001", Reason: "no carrier serves 00000"}
	refund := paymentapi.Refund{OrderKey: order, PaymentID: "pay-of-goods-17", Reason: paymentapi.AddressNotServed}

	d.Given("PUT /deliveries/goods-17/address", address("00000"))
	d.When(completed(order))
	d.Then(failed, refund)
	d.ThenAgainNothing()
	d.When(refundOf(order)) // payment made the refund
	d.ThenNothing()
	d.ThenRow(`SELECT state, reason FROM deliveries`, "failed", "no carrier serves 00000")
	require.Equal(t, []string{"refuse", "refunded"}, historyOf(t, d, order))

	failed.OrderKey, refund.OrderKey, refund.PaymentID = "goods-18", "goods-18", "pay-of-goods-18"
	d.When(completed("goods-18"))
	d.Given("PUT /deliveries/goods-18/address", address("00000"))
	d.Then(failed, refund)
}

func TestCancelDelivery_RefundOfAnotherPaymentChangesNothing(t *testing.T) {
	t.Parallel()
	d := start(t, delivery.Config{})
	other := refundOf(order)
	other.PaymentID, other.Duplicate = "another-payment", true
	d.When(other) // before the payment: a duplicate charge was refunded
	d.ThenRow(`SELECT count(*) FROM deliveries`, 0)
	d.Given("PUT /deliveries/goods-17/address", address("04524"))
	d.When(completed(order))
	d.Then(deliveryapi.Prepared{OrderKey: order})
	d.When(other)
	other.Duplicate = false
	d.When(other)
	d.ThenNothing()
	d.ThenRow(`SELECT state FROM deliveries`, "prepared")
	d.When(refundOf(order))
	d.Then(deliveryapi.Cancelled{OrderKey: order})
}

func TestDelivery_IgnoresDeposits(t *testing.T) {
	t.Parallel()
	d := start(t, delivery.Config{})
	d.When(paymentapi.Completed{PaymentID: "p", OrderKey: "deposit-17", OrderKind: paymentapi.Deposit, UserID: "1001", Amount: 15000, Currency: "KRW"})
	d.When(paymentapi.Refunded{PaymentID: "p", OrderKey: "deposit-17", OrderKind: paymentapi.Deposit, UserID: "1001", Amount: 15000, Currency: "KRW"})
	d.ThenNothing()
	require.Empty(t, d.DeadLetters())
	d.ThenRow(`SELECT count(*) FROM deliveries`, 0)
	require.Equal(t, http.StatusUnprocessableEntity, d.Do("PUT /deliveries/deposit-17/address", address("04524")).Code)
}

func TestDelivery_RepeatedRequestsShipAndDeliverOnce(t *testing.T) {
	t.Parallel()
	d := start(t, delivery.Config{})
	require.Equal(t, http.StatusNotFound, d.Do("POST /deliveries/goods-17/ship", "").Code)
	require.Equal(t, http.StatusNotFound, d.Do("GET /deliveries/goods-17", "").Code)
	d.When(completed(order))
	require.Equal(t, http.StatusConflict, d.Do("POST /deliveries/goods-17/ship", "").Code)
	d.Given("PUT /deliveries/goods-17/address", address("63122"))
	d.Then(deliveryapi.Prepared{OrderKey: order})
	require.Equal(t, http.StatusConflict, d.Do("POST /deliveries/goods-17/deliver", "").Code)
	d.ThenNothing()

	d.Given("POST /deliveries/goods-17/ship", "")
	d.Given("POST /deliveries/goods-17/ship", "")
	d.Then(deliveryapi.Shipped{OrderKey: order, UserID: "1001", Carrier: "korea-post", TrackingNumber: "KP000000000001"})
	d.Given("POST /deliveries/goods-17/deliver", "")
	d.Given("POST /deliveries/goods-17/deliver", "")
	d.Given("POST /deliveries/goods-17/ship", "")
	d.Then(deliveryapi.Delivered{OrderKey: order, UserID: "1001", Carrier: "korea-post", TrackingNumber: "KP000000000001"})
	require.Equal(t, []string{"await", "prepare", "ship", "deliver"}, historyOf(t, d, order))
}

func TestCancelDelivery_RefundBeforeShippingCancels(t *testing.T) {
	t.Parallel()
	d := start(t, delivery.Config{})
	d.When(completed(order), refundOf(order))                                                      // awaiting its address
	d.Then(deliveryapi.Cancelled{OrderKey: order, UserID: "1001", Reason: paymentapi.OtherReason}) // the original text is not published
	d.ThenAgainNothing()
	require.Equal(t, []string{"await", "cancel"}, historyOf(t, d, order))
	require.Equal(t, http.StatusConflict, d.Do("PUT /deliveries/goods-17/address", address("04524")).Code)

	d.Given("PUT /deliveries/goods-18/address", address("04524"))
	d.When(completed("goods-18"), refundOf("goods-18")) // prepared
	d.Then(deliveryapi.Prepared{OrderKey: "goods-18"}, deliveryapi.Cancelled{OrderKey: "goods-18"})
	require.Equal(t, http.StatusConflict, d.Do("POST /deliveries/goods-18/ship", "").Code)
	d.ThenNothing()
}

func TestCancelDelivery_RefundAfterShippingIsOnlyRecorded(t *testing.T) {
	t.Parallel()
	d := start(t, delivery.Config{})
	d.Given("PUT /deliveries/goods-17/address", address("04524"))
	d.When(completed(order))
	d.Given("POST /deliveries/goods-17/ship", "")
	d.Then(deliveryapi.Prepared{}, deliveryapi.Shipped{})
	d.When(refundOf(order))
	d.ThenNothing()
	d.ThenRow(`SELECT state FROM deliveries`, "shipped")
	require.Equal(t, []string{"prepare", "ship", "refunded"}, historyOf(t, d, order))
}

func TestCancelDelivery_RefundBeforePaymentPreventsDelivery(t *testing.T) {
	t.Parallel()
	d := start(t, delivery.Config{})
	d.When(refundOf(order))
	d.Then(deliveryapi.Cancelled{OrderKey: order, UserID: "1001"})
	d.When(completed(order))
	d.ThenNothing()
	d.ThenRow(`SELECT state FROM deliveries`, "cancelled")
	require.Empty(t, d.DeadLetters())
}

func TestDelivery_SecondPaymentOfAnOrderIsDeadLetter(t *testing.T) {
	t.Parallel()
	d := start(t, delivery.Config{})
	again := completed(order)
	again.PaymentID = "another"
	d.When(completed(order), again)
	d.ThenNothing()
	dead := d.DeadLetters()
	require.Len(t, dead, 1)
	require.Contains(t, dead[0], "paid again by another")
	d.ThenRow(`SELECT count(*), min(payment_id) FROM deliveries`, 1, "pay-of-goods-17")
}

func TestSetAddress_IsAllowedUntilShipped(t *testing.T) {
	t.Parallel()
	d := start(t, delivery.Config{})
	d.Given("PUT /deliveries/goods-17/address", address("00000"))
	d.Given("PUT /deliveries/goods-17/address", address("04524")) // not paid yet
	d.When(completed(order))
	d.Then(deliveryapi.Prepared{})
	d.Given("PUT /deliveries/goods-17/address", address("63122"))
	require.Equal(t, http.StatusUnprocessableEntity, d.Do("PUT /deliveries/goods-17/address", address("00000")).Code)
	d.ThenNothing()
	d.Given("POST /deliveries/goods-17/ship", "")
	d.Then(deliveryapi.Shipped{Carrier: "korea-post"})
	d.Given("PUT /deliveries/goods-17/address", address("63122")) // unchanged
	require.Equal(t, http.StatusConflict, d.Do("PUT /deliveries/goods-17/address", address("04524")).Code)
	require.Equal(t, []string{"prepare", "readdress", "ship"}, historyOf(t, d, order))
}

func TestSetAddress_NamesInvalidField(t *testing.T) {
	t.Parallel()
	d := start(t, delivery.Config{})
	for body, field := range map[string]string{
		`{"phone":"010-1234-5678","postcode":"04524","line1":"x"}`:                              "body.name",
		`{"name":" ","phone":"010-1234-5678","postcode":"04524","line1":"x"}`:                   "body.name",
		`{"name":"김","phone":"010-1234-5678","postcode":"4524","line1":"x"}`:                    "body.postcode",
		`{"name":"김","phone":"?","postcode":"04524","line1":"x"}`:                               "body.phone",
		`{"name":"김","phone":"-----","postcode":"04524","line1":"x"}`:                           "body.phone",
		`{"name":"김","phone":"+++()+","postcode":"04524","line1":"x"}`:                          "body.phone",
		`{"name":"김","phone":"8+210","postcode":"04524","line1":"x"}`:                           "body.phone",
		`{"name":"김","phone":"010-1234-5678","postcode":"04524","line1":"x","country":"Korea"}`: "body.country",
		`{"name":"김","phone":"010-1234-5678","postcode":"SW1","line1":"x","country":"UK"}`:      "body.country",
		`{"name":"김","phone":"010-1234-5678","postcode":"04524","line1":"x","country":"ZZ"}`:    "body.country",
	} {
		response := d.Do("PUT /deliveries/goods-17/address", body)
		require.Equal(t, http.StatusUnprocessableEntity, response.Code, body)
		require.Contains(t, response.Body.String(), `"`+field+`"`, body)
	}
	d.ThenRow(`SELECT count(*) FROM addresses`, 0)
}

func TestDelivery_AddressNeverLeavesTheModule(t *testing.T) {
	t.Parallel()
	d := start(t, delivery.Config{AutoProgress: true})
	const canary = `{"name":"canary","phone":"+82 99-9999-9999","postcode":%q,"line1":"canary street","line2":"canary","city":"canary"}`
	d.Given("PUT /deliveries/goods-17/address", fmt.Sprintf(canary, "04524"))
	d.Given("PUT /deliveries/goods-18/address", fmt.Sprintf(canary, "00000"))
	d.When(completed(order), completed("goods-18"))
	d.ThenRow(`SELECT count(*) FROM log`, 4)
	d.ThenRow(`SELECT count(*) FROM log WHERE convert_from(payload, 'UTF8') ~ 'canary|9999|04524'`, 0)
	require.NotContains(t, d.Given("GET /deliveries/goods-17", "").Body.String(), "canary")
}

func TestAutoProgress_ShipsAndDelivers(t *testing.T) {
	t.Parallel()
	d := start(t, delivery.Config{AutoProgress: true})
	d.Given("PUT /deliveries/goods-17/address", address("04524"))
	d.When(completed(order))
	d.Then(
		deliveryapi.Prepared{OrderKey: order}, deliveryapi.Shipped{OrderKey: order, Carrier: "cj-logistics"},
		deliveryapi.Delivered{OrderKey: order, Carrier: "cj-logistics"},
	)
	require.Equal(t, []string{"prepare", "ship", "deliver"}, historyOf(t, d, order))
}

func TestAutoProgress_WaitsForConfiguredTime(t *testing.T) {
	t.Parallel()
	d := start(t, delivery.Config{AutoProgress: true, AutoProgressAfter: 50 * time.Millisecond})
	d.Given("PUT /deliveries/goods-17/address", address("04524"))
	d.When(completed(order))
	d.ThenRow(`SELECT state FROM deliveries`, "delivered")
	d.ThenRow(`SELECT bool_and(at - before >= interval '50 milliseconds') FROM (
		SELECT at, lag(at) OVER (ORDER BY id) AS before FROM history) h WHERE before IS NOT NULL`, true)
}

func TestDelivery_HistoryIsBounded(t *testing.T) {
	t.Parallel()
	d := start(t, delivery.Config{})
	d.When(completed(order))
	d.ThenRow(`SELECT state FROM deliveries`, "awaiting_address")
	require.NotContains(t, d.Given("GET /deliveries/"+order, "").Body.String(), "truncated")
	d.ThenRow(`WITH made AS (
		INSERT INTO history (delivery_id, action, from_state, to_state, note)
		SELECT id, 'readdress', 'awaiting_address', 'awaiting_address', n::text FROM deliveries, generate_series(1, 130) n RETURNING 1)
		SELECT count(*) FROM made`, 130)
	var view struct {
		History   []struct{ Note string }
		Truncated []string
	}
	require.NoError(t, json.Unmarshal(d.Given("GET /deliveries/"+order, "").Body.Bytes(), &view))
	require.Equal(t, []string{"history"}, view.Truncated)
	require.Len(t, view.History, 100)
	require.Equal(t, "31", view.History[0].Note)
	require.Equal(t, "130", view.History[99].Note)
}
