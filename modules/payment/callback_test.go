package payment

import (
	"bytes"
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"millrace/modules/payment/gateway"
	"millrace/modules/payment/paymentapi"
)

// Guarantee S7: a callback that is refused (forged, stale, malformed, wrong
// amount, too large) changes nothing. The hash of all tables stays the same.
func TestCallback_RefusedChangesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := b.started("goods-17")
	right := b.result(s, gateway.Approved)
	encode := func(change func(*gateway.Result)) []byte {
		r := right
		change(&r)
		body, err := json.Marshal(r)
		require.NoError(t, err)
		return body
	}
	same := func(*gateway.Result) {}
	now := time.Now()
	sign := func(secret string, at time.Time, body []byte) string {
		return gateway.Sign([]byte(secret), "id", at, body)
	}
	// The early timestamp must still be early when its request is sent. The exact
	// tolerance is tested in package gateway.
	stale, early := now.Add(-gateway.Tolerance-2*time.Second), now.Add(gateway.Tolerance+10*time.Minute)
	spaces := bytes.Repeat([]byte(" "), gateway.MaxCallback)
	for name, c := range map[string]struct {
		body   []byte
		at     time.Time
		by     string
		status int
	}{
		"forged":                {encode(same), now, "a forger's secret", 401},
		"stale":                 {encode(same), stale, secret, 401},
		"of the future":         {encode(same), early, secret, 401},
		"not JSON":              {[]byte(`{"transactionKey":`), now, secret, 400},
		"two objects":           {append(encode(same), '{', '}'), now, secret, 400},
		"without an order":      {encode(func(r *gateway.Result) { r.OrderKey = "" }), now, secret, 422},
		"another order":         {encode(func(r *gateway.Result) { r.OrderKey = "goods-18" }), now, secret, 422},
		"another amount":        {encode(func(r *gateway.Result) { r.Amount++ }), now, secret, 422},
		"a negative amount":     {encode(func(r *gateway.Result) { r.Amount = -15000 }), now, secret, 422},
		"another currency":      {encode(func(r *gateway.Result) { r.Currency = "USD" }), now, secret, 422},
		"a lower-case status":   {encode(func(r *gateway.Result) { r.Status = "approved" }), now, secret, 422},
		"unknown transaction":   {encode(func(r *gateway.Result) { r.TransactionKey = uuid.NewString() }), now, secret, 404},
		"a key in another case": {bytes.Replace(encode(same), []byte(`"amount"`), []byte(`"AMOUNT"`), 1), now, secret, 400},
		"a key in two cases":    {bytes.Replace(encode(same), []byte(`{`), []byte(`{"Amount":1,`), 1), now, secret, 400},
		"canceled in capitals":  {bytes.Replace(encode(same), []byte(`{`), []byte(`{"CANCELEDAMOUNT":1,`), 1), now, secret, 400},
		"a key twice":           {bytes.Replace(encode(same), []byte(`{`), []byte(`{"status":"DECLINED",`), 1), now, secret, 400},
		"not UTF-8":             {bytes.Replace(encode(same), []byte(`{`), []byte("{\"failedReason\":\"\xff\","), 1), now, secret, 400},
		"too large":             {append(encode(same), spaces...), now, secret, 413},
	} {
		before := b.hash()
		require.Equal(t, c.status, b.send("id", c.at, c.body, sign(c.by, c.at, c.body)), name)
		require.Equal(t, before, b.hash(), name)
	}
	before := b.hash()
	require.Equal(t, 401, b.Do("POST /callbacks/gateway", string(encode(same))).Code, "no headers")
	require.Equal(t, before, b.hash())

	padded := append(encode(same), spaces[len(encode(same)):]...)
	require.Equal(t, 204, b.send("id", now, padded, sign(secret, now, padded)), "exactly the limit")
	require.NotEqual(t, before, b.hash(), "an accepted callback changes the hash")
	b.Then(paymentapi.Completed{OrderKey: "goods-17"})
}

// Guarantee S8: copies of a callback leave the same state as one, and get the same
// status.
func TestCallback_CopiesChangeNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := b.started("goods-17")
	body, err := json.Marshal(b.result(s, gateway.Approved))
	require.NoError(t, err)
	now := time.Now()
	signature := gateway.Sign([]byte(secret), "id", now, body)
	copies := func(n int) {
		var all sync.WaitGroup
		codes := make([]int, n)
		for i := range n {
			all.Go(func() { codes[i] = b.send("id", now, body, signature) })
		}
		all.Wait()
		for _, code := range codes {
			require.Equal(t, 204, code)
		}
	}
	copies(8) // concurrently
	b.Then(paymentapi.Completed{OrderKey: "goods-17"})
	before := b.hash()
	copies(8)
	require.Equal(t, 204, b.callback(b.result(s, gateway.Approved)), "the same result with another id")
	require.Equal(t, before, b.hash())
	b.ThenNothing()
	b.ThenRow(`SELECT count(*), sum(captured) FROM payment_history WHERE status = 'completed'`, 1, 15000)
}

func TestCallback_AcceptsBothSecretsDuringRotation(t *testing.T) {
	t.Parallel()
	b := setup(t)
	now := time.Now()
	for i, signer := range []func(body []byte) string{
		func(body []byte) string { return gateway.Sign([]byte(olderSecret), "id", now, body) },
		func(body []byte) string {
			return gateway.Sign([]byte("no longer ours"), "id", now, body) + " " + gateway.Sign([]byte(secret), "id", now, body)
		},
	} {
		s := b.started([]string{"goods-1", "deposit-2"}[i])
		body, err := json.Marshal(b.result(s, gateway.Approved))
		require.NoError(t, err)
		require.Equal(t, 204, b.send("id", now, body, signer(body)))
	}
	b.Then(paymentapi.Completed{OrderKey: "goods-1"}, paymentapi.Completed{OrderKey: "deposit-2"})
}
