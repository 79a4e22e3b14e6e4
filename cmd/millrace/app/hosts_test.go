package app

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/config"
	"millrace/modules/payment/gateway"
	"millrace/modules/payment/gateway/simulator"
)

// post sends a body to a path of a, with a host and other headers.
func post(t *testing.T, a *App, path, host, body string, headers ...string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, a.URL()+path, strings.NewReader(body))
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Idempotency-Key", "one")
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	request.Host = host
	response, err := client.Do(request)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	return response.StatusCode
}

// exposed is a configuration like the compose file's: it listens on any address, without sign-in.
func exposed(t *testing.T) config.Config {
	t.Helper()
	cfg := local(t)
	cfg.HTTP.Address, cfg.HTTP.InsecureExposeWithoutLogin = "0.0.0.0:0", true
	return cfg
}

// TestHosts_RefusePostFromForeignPage tests DNS rebinding: a page's host name
// resolves to an exposed program, so the browser treats both as the same site.
func TestHosts_RefusePostFromForeignPage(t *testing.T) {
	t.Parallel()
	a, _ := start(t, exposed(t))
	const order = `{"orderKey":"goods-1","userId":"kim","amount":12000,"currency":"KRW","method":"card"}`
	status := post(t, a, "/payments", "evil.example:8080", order, "Origin", "http://evil.example:8080", "Sec-Fetch-Site", "same-origin")
	require.Equal(t, http.StatusMisdirectedRequest, status)
	status = post(t, a, "/payments", "127.0.0.1:8080", order, "Origin", "http://evil.example:8080", "Sec-Fetch-Site", "same-origin")
	require.Equal(t, http.StatusForbidden, status, "behind a reverse proxy that replaces Host")
	require.Zero(t, payments(t, a))
}

// TestHosts_CallbacksArriveAndOrdersComplete exposes the program under a public
// name: the simulator calls back at the program's own address, and a gateway at
// the public one.
func TestHosts_CallbacksArriveAndOrdersComplete(t *testing.T) {
	t.Parallel()
	cfg := exposed(t)
	cfg.HTTP.PublicHosts = []string{"shop.example"}
	order := "goods-1"
	for cfg.Payment.Gateway.SimulatorSeed = 1; simulator.PlanFor(cfg.Payment.Gateway.SimulatorSeed, order, 1).Status != gateway.Approved; {
		cfg.Payment.Gateway.SimulatorSeed++
	}
	a, _ := start(t, cfg)
	status := post(t, a, "/payments", "shop.example", `{"orderKey":"goods-1","userId":"kim","amount":12000,"currency":"KRW","method":"card"}`,
		"Origin", "https://shop.example", "Sec-Fetch-Site", "same-origin")
	require.Equal(t, http.StatusAccepted, status)
	require.Eventually(t, func() bool {
		var completed bool
		require.NoError(t, a.transport.DB("payment").QueryRowContext(t.Context(), `SELECT EXISTS (SELECT FROM payments WHERE status = 'completed')`).Scan(&completed))
		return completed
	}, 2*time.Minute, 50*time.Millisecond)
	require.Equal(t, http.StatusUnauthorized, post(t, a, "/callbacks/gateway", "shop.example", `{}`), "it is the signature that is missing")
	require.Equal(t, http.StatusMisdirectedRequest, post(t, a, "/callbacks/gateway", "pay.example", `{}`))
}

// TestHosts_AllowHostOfCallbackURL: the gateway sends callbacks with that host.
func TestHosts_AllowHostOfCallbackURL(t *testing.T) {
	t.Parallel()
	cfg := exposed(t)
	cfg.Payment.Gateway.URL, cfg.Payment.CallbackURL = "http://127.0.0.1:1", "https://pay.example:8443/callbacks/gateway"
	cfg.Payment.Secrets = []config.Secret{"whsec_YW5vdGhlciBzZWNyZXQgb2YgdGhpcyB0ZXN0"}
	a, _ := start(t, cfg)
	require.Equal(t, http.StatusUnauthorized, post(t, a, "/callbacks/gateway", "pay.example:8443", `{}`))
	require.Equal(t, http.StatusMisdirectedRequest, post(t, a, "/callbacks/gateway", "shop.example", `{}`))
}

// payments counts the payments.
func payments(t *testing.T, a *App) (n int) {
	t.Helper()
	require.NoError(t, a.transport.DB("payment").QueryRowContext(t.Context(), `SELECT count(*) FROM payments`).Scan(&n))
	return n
}
