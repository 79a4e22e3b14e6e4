package web_test

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/platform/web"
)

// guarded creates a server that allows these hosts. send sends a request as if
// it had arrived at 192.0.2.9; reached counts the requests that passed the
// guard.
func guarded(t *testing.T, hosts ...string) (send func(method, path, host string, headers ...string) *httptest.ResponseRecorder, reached *int) {
	t.Helper()
	reached = new(int)
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(http.ResponseWriter, *http.Request) { *reached++ })
	h := web.Handler(mux, slog.New(slog.DiscardHandler), nil, web.NewHosts("http.public_hosts", hosts...).Guard)
	return func(method, path, host string, headers ...string) *httptest.ResponseRecorder {
		ctx := context.WithValue(t.Context(), http.LocalAddrContextKey, net.Addr(&net.TCPAddr{IP: net.IPv4(192, 0, 2, 9), Port: 8080}))
		r := httptest.NewRequestWithContext(ctx, method, path, nil)
		r.Host = host
		for i := 0; i < len(headers); i += 2 {
			r.Header.Add(headers[i], headers[i+1])
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}, reached
}

func TestHosts_RejectsForeignHost(t *testing.T) {
	t.Parallel()
	send, reached := guarded(t, "shop.example", "2001:DB8::1", "198.51.100.7")
	for _, host := range []string{
		"127.0.0.1:8080", "127.9.9.9", "localhost", "localhost:1", "LOCALHOST", "localhost.", "Localhost.:8080", "[::1]:8080", "[::1]", "[::ffff:127.0.0.1]",
		"shop.example", "Shop.Example:443", "shop.example.", "[2001:db8::1]:8080", "[2001:db8:0::1]", "198.51.100.7:80",
		"192.0.2.9:8080", "192.0.2.9", "[::ffff:192.0.2.9]:1", // the address where the connection arrived
	} {
		require.Equal(t, http.StatusOK, send("GET", "/", host).Code, host)
	}
	*reached = 0
	for _, host := range []string{
		"evil.example:8080", "192.0.2.1", "", ".", ":8080", "localhost.evil.example", "evil.shop.example", "shop.example.evil.example", "notshop.example",
		"shop.example..", ".shop.example", "localhost:", "localhost:x", "localhost:0", "localhost:65536", "localhost:+1", "localhost:80:80", "localhost :80",
		"user@localhost", "user:pass@localhost:80", "evil.example#@localhost", "localhost/", "localhost,evil.example",
		"[127.0.0.1]", "[::1", "::1", "::1]", "[[::1]]", "[::1]x", "[::1]:", "[::1%lo]", "[localhost]", "127.1", "0x7f.0.0.1", "2130706433", "127.0.0.01", "0.0.0.0", "[::]",
		"2001:db8::1", "localhost\x00", "ｌocalhost",
	} {
		w := send("GET", "/", host)
		require.Equal(t, http.StatusMisdirectedRequest, w.Code, "%q", host)
		problem(t, w, http.StatusMisdirectedRequest)
		require.Contains(t, w.Body.String(), "http.public_hosts")
		require.NotContains(t, w.Body.String(), "evil", "repeats nothing that was sent")
		require.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
	}
	require.Zero(t, *reached)
}

// A reverse proxy that replaces Host makes every name look like ours, also one
// that an attacker pointed at the proxy. The browser's Origin still shows that
// name.
func TestHosts_RejectsForeignOrigin(t *testing.T) {
	t.Parallel()
	send, reached := guarded(t, "shop.example")
	for _, site := range []string{"same-origin", "none"} {
		for _, origin := range []string{"http://evil.example:8080", "https://shop.example.evil.example", "chrome-extension://abcdef", "https://user@shop.example", "https://", "x"} {
			w := send("POST", "/", "127.0.0.1:8080", "Origin", origin, "Sec-Fetch-Site", site)
			problem(t, w, http.StatusForbidden)
			require.Contains(t, w.Body.String(), "http.public_hosts", origin)
		}
		problem(t, send("POST", "/", "localhost", "Sec-Fetch-Site", site, "Origin", "http://localhost", "Origin", "http://evil.example"), http.StatusForbidden)
	}
	require.Zero(t, *reached)
	require.Equal(t, 200, send("POST", "/", "shop.example", "Origin", "https://shop.example").Code, "an older browser")
	require.Equal(t, 200, send("POST", "/", "127.0.0.1:8080", "Origin", "https://shop.example", "Sec-Fetch-Site", "same-origin").Code, "a proxy that replaces Host")
	require.Equal(t, 200, send("POST", "/", "localhost:8080", "Origin", "null", "Sec-Fetch-Site", "same-origin").Code, "a form of a page without a referrer")
	require.Equal(t, 200, send("POST", "/", "localhost:8080").Code, "a client other than a browser")
	problem(t, send("POST", "/", "localhost:8080", "Origin", "null"), http.StatusForbidden)
	problem(t, send("POST", "/", "localhost:8080", "Origin", "http://localhost:9999", "Sec-Fetch-Site", "same-site"), http.StatusForbidden)
}

func TestHosts_AllowsProbesUnderAnyHost(t *testing.T) {
	t.Parallel()
	send, _ := guarded(t)
	for path, status := range map[string]int{
		"/livez": 200, "/readyz": 200, "/metrics": 421, "/livez/": 421, "//livez": 421, "/livez/../payments": 421, "/%6civez": 200, "/readyz.html": 421,
	} {
		require.Equal(t, status, send("GET", path, "pod-7.evil.example:8080").Code, path)
	}
}

func TestCheckHost_ErrorNamesEntryAndFix(t *testing.T) {
	t.Parallel()
	for _, host := range []string{"shop.example", "localhost", "Shop.Example.", "payment", "my_service", "xn--9n2bp8q.example", "192.0.2.1", "2001:db8::1", "3f2a"} {
		require.NoError(t, web.CheckHost(host), host)
	}
	for host, fix := range map[string]string{
		"": "is empty", " ": "is empty", "https://shop.example": "has a scheme: write the host alone", "shop.example/pay": "has a path", "shop.example:8443": "has a port: leave it out",
		"*.shop.example": "has a wildcard: list each host", "me@shop.example": "has a user", "가게.example": "xn-- form", "[2001:db8::1]": "without them", "shop example": "has a blank",
		"shop..example": "is not a host name", "-shop.example": "is not a host name", "1.2.3": "is not a host name", "0.0.0.0": "list the names and addresses that clients use", "::": "that clients use",
		strings.Repeat("a", 64) + ".example": "is not a host name", "fe80::1%eth0": "has a port",
	} {
		err := web.CheckHost(host)
		require.ErrorContains(t, err, fix, host)
		require.ErrorContains(t, err, `"`+host+`"`)
	}
}
