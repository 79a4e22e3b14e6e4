package simulator

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/modules/payment/gateway"
)

// The browser of this machine can reach loopback for a page of another site.
func TestSimulator_RejectsForeignHostsAndOrigins(t *testing.T) {
	t.Parallel()
	s, _, _ := setup(t)
	for _, c := range []struct {
		host, origin string
		status       int
	}{
		{"", "", http.StatusOK}, {"localhost:1", "", http.StatusOK}, {"", s.URL(), http.StatusOK},
		{"evil.example", "", http.StatusMisdirectedRequest}, {"evil.example:80", "", http.StatusMisdirectedRequest}, {"", "http://evil.example", http.StatusForbidden},
	} {
		for method, path := range map[string]string{http.MethodGet: "/book", http.MethodPost: "/charges"} {
			req, err := http.NewRequestWithContext(t.Context(), method, s.URL()+path, strings.NewReader(`{}`))
			require.NoError(t, err)
			req.Host = c.host
			req.Header.Set("Content-Type", "application/json")
			if c.origin != "" {
				req.Header.Set("Origin", c.origin)
			}
			res, err := http.DefaultClient.Do(req)
			require.NoError(t, err)
			require.NoError(t, res.Body.Close())
			want := c.status
			if want == http.StatusOK && method == http.MethodPost {
				want = http.StatusUnprocessableEntity // an empty charge
			}
			require.Equal(t, want, res.StatusCode, "%s %+v", path, c)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

// This sends what a browser sends for a page of another site, with and without a
// CORS preflight, to every route that writes.
func TestSimulator_ForeignPagesCannotMoveMoney(t *testing.T) {
	t.Parallel()
	s, r, client := setup(t)
	s.cfg.Plan = func(uint64, string, int) Plan { return Plan{Status: gateway.Approved} }
	asked := chargeOf("goods-1", r)
	_, err := client.Charge(t.Context(), asked)
	require.NoError(t, err)
	before := settled(t, s)
	browser := &http.Client{Transport: &http.Transport{}}
	defer browser.CloseIdleConnections()
	for path, body := range map[string]string{
		"/dashboard/cancel": `{"transactionKey":"` + asked.TransactionKey + `"}`,
		"/charges":          `{"transactionKey":"tx-2","orderKey":"goods-2","amount":1500,"currency":"USD","callbackUrl":"http://127.0.0.1:1/"}`,
		"/refunds":          `{"refundId":"r-1","transactionKey":"` + asked.TransactionKey + `","amount":1500,"currency":"USD"}`,
	} {
		for _, c := range []struct {
			origin, site, contentType string
			status                    int
		}{
			{"null", "cross-site", "text/plain", http.StatusForbidden},
			{"null", "cross-site", "application/json", http.StatusForbidden},
			{"null", "", "application/json", http.StatusForbidden},
			{"http://localhost:3000", "", "application/json", http.StatusForbidden},
			{"http://localhost:3000", "same-site", "application/json", http.StatusForbidden},
			{"", "cross-site", "application/json", http.StatusForbidden},
			{"", "", "text/plain", http.StatusUnsupportedMediaType},
			{"", "", "", http.StatusUnsupportedMediaType},
			{"", "", "application/x-www-form-urlencoded", http.StatusUnsupportedMediaType},
			{"", "", "multipart/form-data; boundary=x", http.StatusUnsupportedMediaType},
			{"", "", "text/plain; application/json", http.StatusUnsupportedMediaType},
		} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL()+path, strings.NewReader(body))
			require.NoError(t, err)
			for name, value := range map[string]string{
				"Origin": c.origin, "Sec-Fetch-Site": c.site, "Content-Type": c.contentType,
				"Idempotency-Key": map[string]string{"/charges": "tx-2", "/refunds": "r-1"}[path],
			} {
				if value != "" {
					req.Header.Set(name, value)
				}
			}
			res, err := browser.Do(req)
			require.NoError(t, err)
			require.NoError(t, res.Body.Close())
			require.Equal(t, c.status, res.StatusCode, "%s %+v", path, c)
		}
	}
	require.Equal(t, before, s.Book())
}

// The responses have the same security headers as those of every other server.
func TestSimulator_ResponsesCannotBeFramed(t *testing.T) {
	t.Parallel()
	s, _, _ := setup(t)
	browser := &http.Client{Transport: &http.Transport{}}
	defer browser.CloseIdleConnections()
	for _, path := range []string{"/", "/book", "/charges/none", "/nothing"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL()+path, nil)
		require.NoError(t, err)
		res, err := browser.Do(req)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		require.Contains(t, res.Header.Get("Content-Security-Policy"), "frame-ancestors 'none'", path)
		require.Equal(t, "DENY", res.Header.Get("X-Frame-Options"), path)
		require.Equal(t, "nosniff", res.Header.Get("X-Content-Type-Options"), path)
	}
}

// The callback URL of a charge is ignored when one is configured.
func TestSimulator_CallsBackConfiguredURLOnly(t *testing.T) {
	t.Parallel()
	s, r, client := setup(t)
	s.CallBackTo(r.URL + "/callbacks/gateway")
	s.cfg.Plan = func(uint64, string, int) Plan { return Plan{Status: gateway.Approved} }
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the charge's own URL was called back") }))
	t.Cleanup(elsewhere.Close)
	for i, url := range []string{elsewhere.URL, "http://192.0.2.1/", ""} {
		asked := chargeOf(fmt.Sprint("goods-", i), r)
		asked.CallbackURL = url
		_, err := client.Charge(t.Context(), asked)
		require.NoError(t, err)
	}
	settled(t, s)
	require.Len(t, r.results, 3)
}
