package delivery_test

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/modules/delivery"
	"millrace/modules/payment/paymentapi"
)

const (
	putAddress = "PUT /deliveries/goods-17/address"
	postShip   = "POST /deliveries/goods-17/ship"
	getIt      = "GET /deliveries/goods-17"
)

// now returns the current status and version that a refusal reports.
func now(t *testing.T, answer *httptest.ResponseRecorder) string {
	t.Helper()
	var problem struct {
		Current struct {
			Status  string
			Version int64
		}
	}
	require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &problem), "%s", answer.Body)
	return fmt.Sprint(problem.Current.Status, " ", problem.Current.Version)
}

func TestCondition_ChecksVersionAndStatus(t *testing.T) {
	t.Parallel()
	d := start(t, delivery.Config{})
	nothing := d.Do(putAddress, address("04524"), "If-Match: *")
	require.Equal(t, 412, nothing.Code, "%s", nothing.Body)
	require.Equal(t, "unpaid 0", now(t, nothing))
	first := d.Do(putAddress+"?expectedStatus=unpaid", address("04524"))
	require.Equal(t, 200, first.Code, "%s", first.Body)
	require.Equal(t, `"1"`, first.Header().Get("ETag"))
	require.Equal(t, `"1"`, d.Do(putAddress, address("04524"), "If-Match: *").Header().Get("ETag"), "the same address changes nothing")
	require.Equal(t, 412, d.Do(putAddress, address("04525"), `If-Match: W/"1"`).Code)
	require.Equal(t, `"2"`, d.Do(putAddress, address("04525"), `If-Match: "1"`).Header().Get("ETag"))
	require.Equal(t, 404, d.Do(postShip, "", `If-Match: "2"`).Code, "the order is not paid yet")

	d.When(completed(order))
	stale := d.Do(putAddress, address("04526"), `If-Match: "2"`)
	require.Equal(t, 412, stale.Code)
	require.Equal(t, "prepared 3", now(t, stale))
	require.Equal(t, 409, d.Do(putAddress+"?expectedStatus=awaiting_address", address("04526")).Code)
	seen := d.Given(getIt, "").Header().Get("ETag")
	require.Equal(t, `"3"`, seen)
	moved := d.Do(putAddress, address("63122"), "If-Match: "+seen)
	require.Equal(t, 200, moved.Code, "%s", moved.Body)

	stale = d.Do(postShip, "", "If-Match: "+seen)
	require.Equal(t, 412, stale.Code, "the address changed since the label was printed")
	seen = d.Given(getIt, "").Header().Get("ETag")
	require.Equal(t, seen, moved.Header().Get("ETag"))
	shipped := d.Do(postShip+"?expectedStatus=prepared", "", "If-Match: "+seen)
	require.Equal(t, 200, shipped.Code, "%s", shipped.Body)
	require.NotEqual(t, seen, shipped.Header().Get("ETag"))
	again := d.Do(postShip+"?expectedStatus=prepared", "")
	require.Equal(t, 409, again.Code)
	require.Contains(t, now(t, again), "shipped ")
	require.Equal(t, 409, d.Do(putAddress, address("04524"), "If-Match: "+shipped.Header().Get("ETag")).Code, "the parcel was shipped")
	require.Equal(t, 200, d.Do("POST /deliveries/goods-17/deliver", "", "If-Match: "+shipped.Header().Get("ETag")).Code)
	require.Equal(t, 400, d.Do(postShip, "", "If-Match: 7").Code)
	require.Equal(t, 422, d.Do(postShip+"?expectedstatus=prepared", "").Code)
	require.Equal(t, 422, d.Do(postShip+"?expectedStatus=gone", "").Code)
}

// One clerk corrects the address while another one ships the parcel, both with the
// same version.
func TestCondition_ConcurrentAddressChangeAndShipmentNeverBothSucceed(t *testing.T) {
	t.Parallel()
	d := start(t, delivery.Config{})
	for i := range 15 {
		key := fmt.Sprintf("goods-%d", 100+i)
		d.Given("PUT /deliveries/"+key+"/address", address("04524"))
		d.When(completed(key))
		seen := "If-Match: " + d.Given("GET /deliveries/"+key, "").Header().Get("ETag")
		var codes [2]int
		var both sync.WaitGroup
		both.Go(func() { codes[0] = d.Do("PUT /deliveries/"+key+"/address", address("04525"), seen).Code })
		both.Go(func() { codes[1] = d.Do("POST /deliveries/"+key+"/ship", "", seen).Code })
		both.Wait()
		require.ElementsMatch(t, []int{200, 412}, codes[:])
	}
}

func TestDelivery_InvalidMessagesAreDeadLetters(t *testing.T) {
	t.Parallel()
	d := start(t, delivery.Config{})
	for i, row := range []struct {
		field string
		wrong func(*paymentapi.Completed)
	}{
		{"amount: -5 ", func(e *paymentapi.Completed) { e.Amount = -5 }},
		{"amount: 0 ", func(e *paymentapi.Completed) { e.Amount = 0 }},
		{"amount: ", func(e *paymentapi.Completed) { e.Amount = paymentapi.MaxAmount + 1 }},
		{"currency: ", func(e *paymentapi.Completed) { e.Currency = "" }},
		{"currency: ", func(e *paymentapi.Completed) { e.Currency = "krw" }},
		{"currency: ", func(e *paymentapi.Completed) { e.Currency = "XXX" }},
		{"userId: ", func(e *paymentapi.Completed) { e.UserID = "" }},
		{"userId: ", func(e *paymentapi.Completed) { e.UserID = "kim@example.com" }},
		{"paymentId: ", func(e *paymentapi.Completed) { e.PaymentID = "" }},
		{"orderKey: ", func(e *paymentapi.Completed) { e.OrderKey = "gift-1" }},
		{"orderKind: must be deposit", func(e *paymentapi.Completed) { e.OrderKey = "deposit-17" }},
	} {
		key := fmt.Sprintf("goods-%d", 200+i)
		d.Given("PUT /deliveries/"+key+"/address", address("04524"))
		e := completed(key)
		row.wrong(&e)
		d.When(e)
		dead := d.DeadLetters()
		require.Len(t, dead, i+1, row.field)
		require.Contains(t, dead[i], row.field)
		require.NotContains(t, dead[i], "kim@example.com")
	}
	d.ThenNothing()
	d.ThenRow(`SELECT count(*) FROM deliveries`, 0)
	d.ThenRow(`SELECT count(*), min(kind) FROM parked_messages`, 11, "invalid")
}
