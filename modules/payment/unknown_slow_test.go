//go:build slow

package payment

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/modules/payment/gateway"
	"millrace/modules/payment/paymentapi"
)

// Each case starts the module with a timed-out charge: half a minute in all.

// The first charge request times out, then a proxy answers. The payment stays
// open, no failure is published, the order cannot be paid again, and the
// provider's result still counts.
func TestCharge_ProxyResponsesAfterTimeoutLeaveResultUnknown(t *testing.T) {
	t.Parallel()
	for name, a := range map[string]struct {
		status int
		form   string
		body   string
	}{
		"Html400":   {400, "text/html", "<html>Bad Request</html>"},
		"Html404":   {404, "text/html", "<html>Not Found</html>"},
		"Empty413":  {413, "", ""},
		"Code422":   {422, "application/json", `{"code":"blocked"}`},
		"Known422":  {422, "text/plain", `{"code":"invalid_charge"}`},
		"Array422":  {422, "application/json", `[]`},
		"Proxy401":  {401, "application/json", `{"error":"login"}`},
		"Redirect":  {302, "text/html", ""},
		"Success":   {200, "text/html", "<html>Welcome</html>"},
		"Truncated": {200, "application/json", `{"transactionKey":`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			var asked []string
			b := behindProxy(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				mu.Lock()
				asked = append(asked, r.Method+" "+strings.Split(r.URL.Path, "/")[1])
				first := len(asked) == 1
				mu.Unlock()
				if first {
					<-r.Context().Done() // charged, but no response
					return
				}
				w.Header().Set("Content-Type", a.form)
				w.Header().Set("Location", "/login")
				w.WriteHeader(a.status)
				_, _ = io.WriteString(w, a.body)
			})
			s := b.asked("goods-17")
			b.ThenRow(`SELECT attempts >= 3, state FROM outbound_calls`, true, "pending")
			require.Equal(t, pending, b.view(s).Status)
			require.Equal(t, 409, b.pay("another", bodyFor("goods-17")).Code)
			mu.Lock()
			require.Equal(t, "POST charges", asked[0])
			require.NotContains(t, asked[1:], "POST charges", "it is looked up, not charged again")
			require.Contains(t, asked[1:], "GET charges")
			mu.Unlock()
			b.ThenNothing()
			require.Equal(t, 204, b.callback(b.result(s, gateway.Approved)))
			b.Then(paymentapi.Completed{OrderKey: "goods-17", PaymentID: s.PaymentID})
		})
	}
}
