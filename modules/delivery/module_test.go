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

// historyOf reads the actions of an order's delivery over HTTP.
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
		require.Equal(t, state, h.From, "every row begins where the one before it ended")
		state = h.To
		all = append(all, h.Action)
	}
	return all
}

func TestAPaidOrderWithAnAddressIsPrepared(t *testing.T) {
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

func TestAnAddressAfterThePaymentPreparesTheDeliveryThatWaits(t *testing.T) {
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

func TestAnUnreachableAddressAsksForARefund(t *testing.T) {
	t.Parallel()
	d := start(t, delivery.Config{})
	failed := deliveryapi.Failed{OrderKey: order, UserID: "1001", Reason: "no carrier serves 00000"}
	refund := paymentapi.Refund{OrderKey: order, Reason: "address cannot be served"}

	d.Given("PUT /deliveries/goods-17/address", address("00000"))
	d.When(completed(order))
	d.Then(failed, refund)
	d.ThenAgainNothing()
	d.When(refundOf(order)) // payment did as it was asked
	d.ThenNothing()
	d.ThenRow(`SELECT state, reason FROM deliveries`, "failed", "no carrier serves 00000")
	require.Equal(t, []string{"refuse", "refunded"}, historyOf(t, d, order))

	failed.OrderKey, refund.OrderKey = "goods-18", "goods-18"
	d.When(completed("goods-18"))
	d.Given("PUT /deliveries/goods-18/address", address("00000"))
	d.Then(failed, refund)
}

func TestADepositHasNothingToDeliver(t *testing.T) {
	t.Parallel()
	d := start(t, delivery.Config{})
	d.When(paymentapi.Completed{PaymentID: "p", OrderKey: "deposit-17", OrderKind: paymentapi.Deposit, UserID: "1001"})
	d.When(paymentapi.Refunded{PaymentID: "p", OrderKey: "deposit-17", OrderKind: paymentapi.Deposit, UserID: "1001"})
	d.ThenNothing()
	d.ThenRow(`SELECT count(*) FROM deliveries`, 0)
	require.Equal(t, http.StatusUnprocessableEntity, d.Do("PUT /deliveries/deposit-17/address", address("04524")).Code)
}

func TestAParcelIsShippedAndDeliveredOnceWhateverIsRepeated(t *testing.T) {
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

func TestARefundCancelsWhatHasNotLeft(t *testing.T) {
	t.Parallel()
	d := start(t, delivery.Config{})
	d.When(completed(order), refundOf(order)) // awaits its address
	d.Then(deliveryapi.Cancelled{OrderKey: order, UserID: "1001", Reason: "customer asked"})
	d.ThenAgainNothing()
	require.Equal(t, []string{"await", "cancel"}, historyOf(t, d, order))
	require.Equal(t, http.StatusConflict, d.Do("PUT /deliveries/goods-17/address", address("04524")).Code)

	d.Given("PUT /deliveries/goods-18/address", address("04524"))
	d.When(completed("goods-18"), refundOf("goods-18")) // prepared
	d.Then(deliveryapi.Prepared{OrderKey: "goods-18"}, deliveryapi.Cancelled{OrderKey: "goods-18"})
	require.Equal(t, http.StatusConflict, d.Do("POST /deliveries/goods-18/ship", "").Code)
	d.ThenNothing()
}

func TestAParcelThatHasLeftOnlyRemembersARefund(t *testing.T) {
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

func TestARefundBeforeItsPaymentKeepsTheParcelFromStarting(t *testing.T) {
	t.Parallel()
	d := start(t, delivery.Config{})
	d.When(refundOf(order))
	d.Then(deliveryapi.Cancelled{OrderKey: order, UserID: "1001"})
	d.When(completed(order))
	d.ThenNothing()
	d.ThenRow(`SELECT state FROM deliveries`, "cancelled")
	require.Empty(t, d.DeadLetters())
}

func TestAnOrderPaidAgainByAnotherPaymentIsADeadLetter(t *testing.T) {
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

func TestAnAddressMayChangeUntilTheParcelIsShipped(t *testing.T) {
	t.Parallel()
	d := start(t, delivery.Config{})
	d.Given("PUT /deliveries/goods-17/address", address("00000"))
	d.Given("PUT /deliveries/goods-17/address", address("04524")) // nobody had paid yet
	d.When(completed(order))
	d.Then(deliveryapi.Prepared{})
	d.Given("PUT /deliveries/goods-17/address", address("63122"))
	require.Equal(t, http.StatusUnprocessableEntity, d.Do("PUT /deliveries/goods-17/address", address("00000")).Code)
	d.ThenNothing()
	d.Given("POST /deliveries/goods-17/ship", "")
	d.Then(deliveryapi.Shipped{Carrier: "korea-post"})
	d.Given("PUT /deliveries/goods-17/address", address("63122")) // the same
	require.Equal(t, http.StatusConflict, d.Do("PUT /deliveries/goods-17/address", address("04524")).Code)
	require.Equal(t, []string{"prepare", "readdress", "ship"}, historyOf(t, d, order))
}

func TestABadFieldOfAnAddressIsNamed(t *testing.T) {
	t.Parallel()
	d := start(t, delivery.Config{})
	for body, field := range map[string]string{
		`{"phone":"010-1234-5678","postcode":"04524","line1":"x"}`:                              "body.name",
		`{"name":" ","phone":"010-1234-5678","postcode":"04524","line1":"x"}`:                   "body.name",
		`{"name":"김","phone":"010-1234-5678","postcode":"4524","line1":"x"}`:                    "body.postcode",
		`{"name":"김","phone":"?","postcode":"04524","line1":"x"}`:                               "body.phone",
		`{"name":"김","phone":"010-1234-5678","postcode":"04524","line1":"x","country":"Korea"}`: "body.country",
	} {
		response := d.Do("PUT /deliveries/goods-17/address", body)
		require.Equal(t, http.StatusUnprocessableEntity, response.Code, body)
		require.Contains(t, response.Body.String(), `"`+field+`"`, body)
	}
	d.ThenRow(`SELECT count(*) FROM addresses`, 0)
}

func TestAnAddressNeverLeavesTheModule(t *testing.T) {
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

func TestWithoutAWarehouseParcelsMoveByThemselves(t *testing.T) {
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

func TestAParcelRestsAsLongAsItIsTold(t *testing.T) {
	t.Parallel()
	d := start(t, delivery.Config{AutoProgress: true, AutoProgressAfter: 50 * time.Millisecond})
	d.Given("PUT /deliveries/goods-17/address", address("04524"))
	d.When(completed(order))
	d.ThenRow(`SELECT state FROM deliveries`, "delivered")
	d.ThenRow(`SELECT bool_and(at - before >= interval '50 milliseconds') FROM (
		SELECT at, lag(at) OVER (ORDER BY id) AS before FROM history) h WHERE before IS NOT NULL`, true)
}
