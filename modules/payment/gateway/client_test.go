package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/platform/errs"
)

var asked = Charge{TransactionKey: "t", OrderKey: "goods-1", Amount: 5, Currency: "KRW", Method: "card", CallbackURL: "http://127.0.0.1/"}

func TestClient_ChargeSendsIdempotencyKey(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var c Charge
		if err := json.NewDecoder(r.Body).Decode(&c); err != nil || r.Header.Get("Idempotency-Key") != "t" || r.URL.Path != "/base/charges" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(Result{TransactionKey: c.TransactionKey, OrderKey: c.OrderKey, Amount: c.Amount, Currency: c.Currency, Status: Pending})
	}))
	defer server.Close()
	got, err := NewClient(server.URL+"/base", time.Minute).Charge(t.Context(), asked)
	require.NoError(t, err)
	require.Equal(t, Pending, got.Status)
}

// answering returns a client of a server that gives every request the same
// response.
func answering(t *testing.T, status int, contentType, body string) *Client {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", contentType)
		if status >= 300 && status < 400 {
			w.Header().Set("Location", "/elsewhere")
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(server.Close)
	return NewClient(server.URL, time.Minute)
}

// requests returns the client's four requests by name.
func requests(c *Client) map[string]func() error {
	refund := Refund{RefundID: "r", TransactionKey: "t", Amount: 5, Currency: "KRW"}
	return map[string]func() error{
		"charge":         func() error { _, err := c.Charge(context.Background(), asked); return err },
		"look-up":        func() error { _, err := c.Lookup(context.Background(), asked); return err },
		"refund":         func() error { _, err := c.Refund(context.Background(), refund); return err },
		"refund look-up": func() error { _, err := c.LookupRefund(context.Background(), refund); return err },
	}
}

// After any response that is not the provider's own, the result is unknown: the
// error is not a Refusal and not ErrNotThere, and its kind is retried.
func TestClient_OtherResponsesLeaveResultUnknown(t *testing.T) {
	t.Parallel()
	const html, isJSON = "text/html; charset=utf-8", "application/json"
	for name, a := range map[string]struct {
		status int
		form   string
		body   string
	}{
		"400 html":                        {400, html, "<html>Bad Request</html>"},
		"404 html":                        {404, html, "<html>Not Found</html>"},
		"400 empty":                       {400, "", ""},
		"404 empty JSON":                  {404, isJSON, ""},
		"413 html":                        {413, html, "<html>"},
		"422 without code":                {422, isJSON, `{"message":"no"}`},
		"422 other code":                  {422, isJSON, `{"code":"blocked_by_policy"}`},
		"422 code is a number":            {422, isJSON, `{"code":17}`},
		"422 code is null":                {422, isJSON, `{"code":null}`},
		"422 array":                       {422, isJSON, `[{"code":"limit_exceeded"}]`},
		"422 truncated":                   {422, isJSON, `{"code":"limit_exceeded"`},
		"422 two objects":                 {422, isJSON, `{"code":"limit_exceeded"}{}`},
		"422 known code as text":          {422, "text/plain", `{"code":"limit_exceeded"}`},
		"422 known code, no form":         {422, "", `{"code":"limit_exceeded"}`},
		"422 of another charge":           {422, isJSON, `{"code":"limit_exceeded","transactionKey":"u"}`},
		"422 of another refund":           {422, isJSON, `{"code":"not_captured","refundId":"u"}`},
		"422 huge":                        {422, isJSON, `{"code":"limit_exceeded","x":"` + strings.Repeat("x", MaxCallback) + `"}`},
		"422 the key was used":            {422, isJSON, `{"code":"idempotency_key_reused"}`},
		"400 damaged on the way":          {400, isJSON, `{"code":"not_json"}`},
		"401 of a proxy":                  {401, isJSON, `{"code":"unauthorized"}`},
		"403 html":                        {403, html, "<html>"},
		"407 html":                        {407, html, "<html>"},
		"409 in progress":                 {409, isJSON, `{"code":"in_progress"}`},
		"429":                             {429, isJSON, `{"code":"try_again"}`},
		"302":                             {302, html, ""},
		"302 with a code":                 {302, isJSON, `{"code":"limit_exceeded"}`},
		"500 with a code of the contract": {500, isJSON, `{"code":"limit_exceeded"}`},
		"503":                             {503, html, "<html>"},
		"200 with a code of the contract": {200, isJSON, `{"code":"limit_exceeded"}`},
		"200 with not found":              {200, isJSON, `{"code":"charge_not_found"}`},
		"200 html":                        {200, html, "<html>"},
		"200 empty":                       {200, isJSON, ""},
		"204":                             {204, isJSON, ""},
		"206 a part":                      {206, isJSON, `{"transactionKey":"t","orderKey":"goods-1","amount":5,"currency":"KRW","status":"DECLINED"}`},
		"400 with a result":               {400, isJSON, `{"transactionKey":"t","orderKey":"goods-1","amount":5,"currency":"KRW","status":"DECLINED"}`},
		"200 declined, as html":           {200, html, `{"transactionKey":"t","orderKey":"goods-1","amount":5,"currency":"KRW","status":"DECLINED"}`},
		"200 array":                       {200, isJSON, `[]`},
		"200 null":                        {200, isJSON, `null`},
		"200 another charge":              {200, isJSON, `{"refundId":"u","transactionKey":"u","orderKey":"goods-1","amount":5,"currency":"KRW","status":"DECLINED"}`},
		"200 another order":               {200, isJSON, `{"refundId":"u","transactionKey":"t","orderKey":"goods-2","amount":5,"currency":"KRW","status":"DECLINED"}`},
		"200 another amount":              {200, isJSON, `{"refundId":"r","transactionKey":"t","orderKey":"goods-1","amount":6,"currency":"KRW","status":"DECLINED"}`},
		"200 another currency":            {200, isJSON, `{"refundId":"r","transactionKey":"t","orderKey":"goods-1","amount":5,"currency":"USD","status":"DECLINED"}`},
		"200 no status":                   {200, isJSON, `{"refundId":"r","transactionKey":"t","orderKey":"goods-1","amount":5,"currency":"KRW"}`},
		"200 status in lower case":        {200, isJSON, `{"refundId":"r","transactionKey":"t","orderKey":"goods-1","amount":5,"currency":"KRW","status":"declined"}`},
		"200 truncated":                   {200, isJSON, `{"refundId":"r","transactionKey":"t","orderKey":"goods-1","amount":5,"currency":"KRW","status":"DECL`},
		"200 two objects":                 {200, isJSON, `{"refundId":"r","transactionKey":"t","orderKey":"goods-1","amount":5,"currency":"KRW","status":"DECLINED"}{}`},
		"200 a fraction":                  {200, isJSON, `{"refundId":"r","transactionKey":"t","orderKey":"goods-1","amount":5.5,"currency":"KRW","status":"DECLINED"}`},
		"200 huge":                        {200, isJSON, `"` + strings.Repeat("x", MaxCallback) + `"`},
		"422 problem+json":                {422, "application/problem+json", `{"code":"limit_exceeded"}`},
		"422 a byte order mark":           {422, isJSON, "\ufeff" + `{"code":"limit_exceeded"}`},
		"422 code in another case":        {422, isJSON, `{"code":"LIMIT_EXCEEDED"}`},
		"422 code with a space":           {422, isJSON, `{"code":"limit_exceeded "}`},
		"422 the key in another case":     {422, isJSON, `{"CODE":"limit_exceeded"}`},
		"422 the code twice":              {422, isJSON, `{"code":"limit_exceeded","code":"limit_exceeded"}`},
		"422 two codes":                   {422, isJSON, `{"Code":"x","code":"limit_exceeded"}`},
		"407 known code":                  {407, isJSON, `{"code":"limit_exceeded"}`},
		"401 known code":                  {401, isJSON, `{"code":"limit_exceeded"}`},
		"403 known code":                  {403, isJSON, `{"code":"limit_exceeded"}`},
		"403 not found":                   {403, isJSON, `{"code":"refund_not_found"}`},
		"429 known code":                  {429, isJSON, `{"code":"limit_exceeded"}`},
		"200 status in two cases":         {200, isJSON, `{"refundId":"r","transactionKey":"t","orderKey":"goods-1","amount":5,"currency":"KRW","Status":"DECLINED","status":"DECLINED"}`},
		"200 status twice":                {200, isJSON, `{"refundId":"r","transactionKey":"t","orderKey":"goods-1","amount":5,"currency":"KRW","status":"APPROVED","status":"DECLINED"}`},
		"200 keys in capitals":            {200, isJSON, `{"refundId":"r","transactionKey":"t","orderKey":"goods-1","AMOUNT":5,"currency":"KRW","status":"DECLINED"}`},
		"422 code deeper":                 {422, isJSON, `{"error":{"code":"limit_exceeded"}}`},
		"451":                             {451, html, "<html>Blocked</html>"},
		"511 captive portal":              {511, html, "<html>Log in</html>"},
		"200 canceled more than charged":  {200, isJSON, `{"refundId":"u","transactionKey":"t","orderKey":"goods-1","amount":5,"currency":"KRW","status":"REFUNDED","canceledAmount":6}`},
		"a refund's refusal of a charge":  {404, isJSON, `{"code":"no_such_page"}`},
	} {
		for what, ask := range requests(answering(t, a.status, a.form, a.body)) {
			err := ask()
			require.Error(t, err, "%s: %s", what, name)
			var refusal *Refusal
			require.NotErrorAs(t, err, &refusal, "%s: %s", what, name)
			require.NotErrorIs(t, err, ErrNotThere, "%s: %s", what, name)
			require.NotEqual(t, errs.Dead, errs.KindOf(err).Reaction(), "%s: %s: %v", what, name, err)
		}
	}
}

func TestClient_ContractCodesAreFinal(t *testing.T) {
	t.Parallel()
	names := map[string]string{"POST charges": "charge", "GET charges": "look-up", "POST refunds": "refund", "GET refunds": "refund look-up"}
	for of, codes := range final {
		for code, ruling := range codes {
			for _, status := range []int{400, 401, 402, 403, 404, 405, 407, 409, 410, 413, 415, 422, 423, 429, 451, 499} {
				for _, form := range []string{"application/json", "Application/JSON; charset=utf-8"} {
					for what, ask := range requests(answering(t, status, form, `{"code":"`+code+`","message":"free text"}`)) {
						err := ask()
						var refusal *Refusal
						its := what == names[of] && slices.Contains(ruling.statuses, status) // a code is final only for its own request
						require.Equal(t, its && strings.HasPrefix(of, "POST"), errors.As(err, &refusal), "%s: %d %s", what, status, code)
						require.Equal(t, its && strings.HasPrefix(of, "GET"), errors.Is(err, ErrNotThere), "%s: %d %s", what, status, code)
						require.True(t, refusal == nil || refusal.Code == code)
					}
				}
			}
		}
	}
	_, err := answering(t, 422, "application/json", `{"code":"limit_exceeded","transactionKey":"t"}`).Charge(t.Context(), asked)
	var refusal *Refusal
	require.ErrorAs(t, err, &refusal, "a refusal may name its charge")
}

func TestClient_LookupFindsChargesAndRefundsByName(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch r.Method + " " + r.URL.EscapedPath() {
		case "GET /base/charges/t":
			_, _ = io.WriteString(w, `{"transactionKey":"t","orderKey":"goods-1","amount":5,"currency":"KRW","status":"PARTIAL_CANCELED","canceledAmount":2}`)
		case "GET /base/refunds/a%2Fb":
			_, _ = io.WriteString(w, `{"refundId":"a/b","transactionKey":"t","amount":5,"currency":"KRW","status":"REFUNDED"}`)
		default:
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"code":"charge_not_found"}`)
		}
	}))
	defer server.Close()
	client := NewClient(server.URL+"/base", time.Minute)
	charge, err := client.Lookup(t.Context(), asked)
	require.NoError(t, err)
	require.Equal(t, PartialCanceled, charge.Status)
	require.Equal(t, int64(2), charge.CanceledAmount)
	refund, err := client.LookupRefund(t.Context(), Refund{RefundID: "a/b", TransactionKey: "t", Amount: 5, Currency: "KRW"})
	require.NoError(t, err)
	require.Equal(t, Refunded, refund.Status)
	other := asked
	other.TransactionKey = "other"
	_, err = client.Lookup(t.Context(), other)
	require.ErrorIs(t, err, ErrNotThere)
}

func TestResult_BackPrefersCanceledAmountOverStatus(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		status           Status
		amount, canceled int64
		states           Statement
		want             int64
	}{
		{Approved, 100, 0, Nothing, 0},
		{Approved, 100, 10, Total, 10},
		{PartialCanceled, 100, 30, Total, 30},
		{PartialCanceled, 30, 30, Total, 30},
		{PartialCanceled, 100, 100, Total, 100},
		{PartialCanceled, 30, 0, Part, 30},
		{PartialCanceled, 100, 0, Unstated, 0},
		{Refunded, 100, 0, Whole, 100},
		{Refunded, 60, 0, Whole, 60},
		{Refunded, 100, 40, Total, 40},
		{Canceled, 100, 0, Whole, 100},
		{Canceled, 100, 101, Total, 100},
	} {
		states, got := Result{Status: c.status, Amount: c.amount, CanceledAmount: c.canceled}.Back(100)
		require.Equal(t, c.states, states, "%+v", c)
		require.Equal(t, c.want, got, "%+v", c)
	}
}

func TestClient_ReportsTimeoutAndUnreachableServer(t *testing.T) {
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
	require.Equal(t, errs.Resource, errs.KindOf(err), "nothing listens on the port")
}
