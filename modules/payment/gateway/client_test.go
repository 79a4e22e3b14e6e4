package gateway

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/platform/errs"
)

var asked = Charge{TransactionKey: "t", OrderKey: "goods-1", Amount: 5, Currency: "KRW", Method: "card", CallbackURL: "http://127.0.0.1/"}

func TestAChargeIsAskedWithItsKeyAndAnswered(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var c Charge
		if err := json.NewDecoder(r.Body).Decode(&c); err != nil || r.Header.Get("Idempotency-Key") != "t" || r.URL.Path != "/base/charges" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		_ = json.NewEncoder(w).Encode(Result{TransactionKey: c.TransactionKey, OrderKey: c.OrderKey, Amount: c.Amount, Currency: c.Currency, Status: Pending})
	}))
	defer server.Close()
	got, err := NewClient(server.URL+"/base", time.Minute).Charge(t.Context(), asked)
	require.NoError(t, err)
	require.Equal(t, Pending, got.Status)
}

// Only a refusal of the request itself is final. Everything else may hide a
// success, so its kind must make the dispatcher ask again.
func TestOnlyARefusalIsFinal(t *testing.T) {
	t.Parallel()
	for status := 200; status < 600; status++ {
		if http.StatusText(status) == "" {
			continue
		}
		err := refusal("charges", status, []byte(`{"code":"limit_exceeded"}`))
		final := status == 400 || status == 413 || status == 422
		require.Equal(t, final, errs.KindOf(err).Reaction() == errs.Dead, "%d", status)
		require.Equal(t, "limit_exceeded", errs.FieldOf(err))
	}
	require.Equal(t, "http_422", errs.FieldOf(refusal("charges", 422, []byte("no JSON"))))
	require.Equal(t, errs.Unknown, errs.KindOf(refusal("charges", 422, []byte(`{"code":"idempotency_key_reused"}`))), "the first request was heard")
}

func TestAnAnswerThatCannotBeTrustedLeavesTheResultUnknown(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"not JSON":       "<html>",
		"another charge": `{"transactionKey":"u","orderKey":"goods-1","amount":5,"currency":"KRW","status":"APPROVED"}`,
		"another amount": `{"transactionKey":"t","orderKey":"goods-1","amount":6,"currency":"KRW","status":"APPROVED"}`,
		"no status":      `{"transactionKey":"t","orderKey":"goods-1","amount":5,"currency":"KRW"}`,
		"too long":       `"` + strings.Repeat("x", MaxCallback) + `"`,
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, answer) }))
		_, err := NewClient(server.URL, time.Minute).Charge(t.Context(), asked)
		require.Error(t, err, name)
		require.NotEqual(t, errs.Dead, errs.KindOf(err).Reaction(), name)
		server.Close()
	}
}

func TestAnAnswerThatDoesNotComeEndsWithTheTimeout(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}))
	defer server.Close()
	_, err := NewClient(server.URL, 50*time.Millisecond).Charge(t.Context(), asked)
	require.Equal(t, errs.Timeout, errs.KindOf(err))

	server.Close()
	_, err = NewClient(server.URL, time.Minute).Charge(t.Context(), asked)
	require.Equal(t, errs.Resource, errs.KindOf(err), "nobody listens")
}
