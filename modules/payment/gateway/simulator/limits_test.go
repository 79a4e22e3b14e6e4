package simulator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/modules/payment/gateway"
)

// The limits of the contract bound the rows of the book, and ensure that each
// callback can be accepted by the receiver.
func TestSimulator_RejectsRequestsBeyondContractLimits(t *testing.T) {
	t.Parallel()
	s, r, client := setup(t)
	s.cfg.Plan = func(uint64, string, int) Plan { return Plan{Status: gateway.Approved} }
	browser := &http.Client{Timeout: time.Minute, Transport: &http.Transport{}}
	defer browser.CloseIdleConnections()
	post := func(path, key string, body any) int {
		text, err := json.Marshal(body)
		require.NoError(t, err)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL()+path, bytes.NewReader(text))
		require.NoError(t, err)
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Idempotency-Key", key)
		res, err := browser.Do(req)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		return res.StatusCode
	}
	longest := strings.Repeat("k", 128)
	good := gateway.Charge{TransactionKey: longest, OrderKey: longest, Amount: 1500, Currency: "USD", Method: "card", CallbackURL: r.URL + "/callbacks/gateway"}
	for name, spoil := range map[string]func(*gateway.Charge){
		"long transactionKey": func(c *gateway.Charge) { c.TransactionKey += "k" },
		"blank in it":         func(c *gateway.Charge) { c.TransactionKey = "a b" },
		"no orderKey":         func(c *gateway.Charge) { c.OrderKey = "" },
		"long orderKey":       func(c *gateway.Charge) { c.OrderKey += "k" },
		"orderKey not ASCII":  func(c *gateway.Charge) { c.OrderKey = "주문" },
		"currency":            func(c *gateway.Charge) { c.Currency = "US " },
		"method":              func(c *gateway.Charge) { c.Method = strings.Repeat("m", 65) },
		"callbackUrl":         func(c *gateway.Charge) { c.CallbackURL += "?" + strings.Repeat("u", 2048) },
	} {
		bad := good
		spoil(&bad)
		require.Equal(t, http.StatusUnprocessableEntity, post("/charges", bad.TransactionKey, bad), name)
	}
	require.Empty(t, s.Book().Charges)
	_, err := client.Charge(t.Context(), good)
	require.NoError(t, err)
	settled(t, s)

	for name, bad := range map[string]gateway.Refund{
		"long refundId": {RefundID: longest + "k", TransactionKey: longest, Amount: 1, Currency: "USD"},
		"blank in it":   {RefundID: "a b", TransactionKey: longest, Amount: 1, Currency: "USD"},
		"currency":      {RefundID: "r-1", TransactionKey: longest, Amount: 1, Currency: "USDollars"},
	} {
		require.Equal(t, http.StatusUnprocessableEntity, post("/refunds", bad.RefundID, bad), name)
	}
	require.Empty(t, s.Book().Refunds)
	require.Equal(t, http.StatusUnprocessableEntity, post("/dashboard/cancel", "", map[string]any{"transactionKey": longest, "status": strings.Repeat("S", 41)}))
	for range maxCancels {
		require.NoError(t, s.Cancel(longest, 1, "SOME_STATUS"))
	}
	require.ErrorContains(t, s.Cancel(longest, 1, ""), "dashboard")
	settled(t, s)
}

func keeping(t *testing.T, file string, keep int) *Simulator {
	t.Helper()
	s, err := New(Config{Seed: 1, Secret: secret, Keep: keep, File: file, Plan: func(_ uint64, order string, _ int) Plan {
		p := Plan{Status: gateway.Approved}
		if strings.HasPrefix(order, "stuck") {
			p.Answer = ServerErrorOnce
		}
		return p
	}})
	require.NoError(t, err)
	require.NoError(t, s.Start())
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// Charges that are not final are never deleted.
func TestSimulator_DeletesOldestFinalChargesBeyondKeep(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "simulator.json")
	s, r := keeping(t, file, 3), newReceiver(t)
	client := gateway.NewClient(s.URL(), 20*time.Second)
	kept := func(s *Simulator) (keys []string) {
		for _, c := range s.Book().Charges {
			keys = append(keys, c.OrderKey)
		}
		return keys
	}
	_, err := client.Charge(t.Context(), chargeOf("stuck-1", r))
	require.Error(t, err)
	for i := range 6 {
		order := fmt.Sprint("goods-", i)
		_, err := client.Charge(t.Context(), chargeOf(order, r))
		require.NoError(t, err)
		require.Eventually(t, func() bool { return s.Book().Open == 1 }, 60*time.Second, time.Millisecond)
		_, err = client.Refund(t.Context(), gateway.Refund{RefundID: "r-" + order, TransactionKey: "tx-" + order, Amount: 1, Currency: "USD"})
		require.NoError(t, err)
	}
	require.Equal(t, []string{"stuck-1", "goods-4", "goods-5"}, kept(s))
	require.Len(t, s.Book().Refunds, 3)
	require.Len(t, s.byKey, 3)
	require.Len(t, s.byRefund, 3)
	require.Len(t, s.attempts, 3)
	_, err = client.Lookup(t.Context(), chargeOf("goods-5", r))
	require.NoError(t, err)
	require.NoError(t, s.Close())

	// A file with more charges than Keep is shortened when the next charge is added.
	s = keeping(t, file, 2)
	client = gateway.NewClient(s.URL(), 20*time.Second)
	_, err = client.Charge(t.Context(), chargeOf("goods-6", r))
	require.NoError(t, err)
	require.Equal(t, []string{"stuck-1", "goods-6"}, kept(s))
	require.Eventually(t, func() bool { return s.Book().Open == 1 }, 60*time.Second, time.Millisecond)
	_, err = client.Charge(t.Context(), chargeOf("stuck-2", r))
	require.Error(t, err)
	require.Equal(t, []string{"stuck-1", "stuck-2"}, kept(s))

	_, err = client.Charge(t.Context(), chargeOf("goods-7", r))
	require.Error(t, err, "none of the others is final")
	require.Equal(t, []string{"stuck-1", "stuck-2"}, kept(s))
	_, err = client.Charge(t.Context(), chargeOf("stuck-1", r))
	require.NoError(t, err, "a known charge is still accepted")
}
