package proxy

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/cmd/millrace/app"
	"millrace/config"
	"millrace/platform/web"
)

// module stands in for a module's process. Its response contains the request.
type module struct {
	name  string
	ready bool
}

func (m module) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Request-Id", r.Header.Get("X-Request-Id"))
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if r.URL.Path == "/readyz" {
		if !m.ready {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		return
	}
	body, _ := io.ReadAll(r.Body) // an unreadable body is reported as empty
	w.Header().Set("X-Body", string(body))
	w.WriteHeader(http.StatusTeapot)
	_ = json.NewEncoder(w).Encode(map[string]any{"module": m.name, "path": r.URL.RequestURI(), "host": r.Host, "header": r.Header})
}

// open starts a proxy in front of stand-ins for all modules. change replaces the
// handlers of some; nil means that the module cannot be reached.
func open(t *testing.T, change map[string]http.Handler, settings ...func(*config.Config)) *Proxy {
	t.Helper()
	return openWith(t, slog.New(slog.DiscardHandler), change, settings...)
}

func openWith(t *testing.T, log *slog.Logger, change map[string]http.Handler, settings ...func(*config.Config)) *Proxy {
	t.Helper()
	cfg := config.Default()
	cfg.HTTP.Address = "127.0.0.1:0"
	for _, set := range settings {
		set(&cfg)
	}
	for _, name := range app.Modules() {
		handler, changed := change[name]
		if !changed {
			handler = module{name, true}
		}
		if handler == nil { // not a closed test server's port: another server may have it by now
			cfg.Proxy.Modules = append(cfg.Proxy.Modules, name+"=http://127.0.0.1:1")
			continue
		}
		server := httptest.NewServer(handler)
		t.Cleanup(server.Close)
		cfg.Proxy.Modules = append(cfg.Proxy.Modules, name+"="+server.URL)
	}
	d, err := New(cfg, "test", log)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	t.Cleanup(func() { cancel(); require.NoError(t, <-ended) })
	return d
}

func ask(t *testing.T, method, url, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
		if headers[i] == "Host" {
			request.Host = headers[i+1]
		}
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	return response, string(text)
}

// TestProxy_ForwardsEveryOperationToItsModule sends a request to each operation that
// the modules register.
func TestProxy_ForwardsEveryOperationToItsModule(t *testing.T) {
	t.Parallel()
	d := open(t, nil)
	routes, err := app.Routes(http.NewServeMux(), "test", slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	require.NotEmpty(t, routes)
	for _, route := range routes {
		path := strings.NewReplacer("{", "", "}", "").Replace(route.Path) + "?a=b%20c"
		response, text := ask(t, route.Method, d.URL()+path, `{"x":1}`)
		require.Equal(t, http.StatusTeapot, response.StatusCode, "%s: %s", path, text)
		var seen struct{ Module, Path string }
		require.NoError(t, json.Unmarshal([]byte(text), &seen))
		require.Equal(t, route.Module, seen.Module, path)
		require.Equal(t, path, seen.Path)
		require.Equal(t, `{"x":1}`, response.Header.Get("X-Body"))
	}
	_, description := ask(t, http.MethodGet, d.URL()+"/openapi.json", "")
	for _, route := range routes {
		require.Contains(t, description, `"`+route.Path+`"`)
	}
	for _, page := range []string{"/", "/docs", "/livez", "/readyz"} {
		response, _ := ask(t, http.MethodGet, d.URL()+page, "")
		require.Equal(t, http.StatusOK, response.StatusCode, page)
	}
}

func TestProxy_RefusesUnknownPathsAndMethods(t *testing.T) {
	t.Parallel()
	d := open(t, nil)
	for _, path := range []string{"/nothing", "/payments/1/2/3", "/dev/mail/"} {
		response, _ := ask(t, http.MethodGet, d.URL()+path, "")
		require.Equal(t, http.StatusNotFound, response.StatusCode, path)
		require.Equal(t, "application/problem+json", response.Header.Get("Content-Type"), path)
	}
	response, _ := ask(t, http.MethodDelete, d.URL()+"/payments", "")
	require.Equal(t, http.StatusMethodNotAllowed, response.StatusCode)
	response, _ = ask(t, http.MethodPost, d.URL()+"/payments", "{}", "Origin", "https://elsewhere.example", "Sec-Fetch-Site", "cross-site")
	require.Equal(t, http.StatusForbidden, response.StatusCode)
	response, _ = ask(t, http.MethodGet, d.URL()+"/payments/1", "", "Host", "elsewhere.example")
	require.Equal(t, http.StatusMisdirectedRequest, response.StatusCode)
	response, _ = ask(t, http.MethodPost, d.URL()+"/payments", strings.Repeat("x", 2<<20))
	require.Equal(t, http.StatusRequestEntityTooLarge, response.StatusCode)
}

func TestProxy_ForwardsRequestIDAndReplacesForgedHeaders(t *testing.T) {
	t.Parallel()
	d := open(t, nil)
	const id = "0199f000-0000-7000-8000-000000000001"
	response, text := ask(t, http.MethodPost, d.URL()+"/payments", "{}", "X-Request-Id", id, "Idempotency-Key", "k",
		"X-Forwarded-For", "192.0.2.1", "Origin", d.URL(), "Sec-Fetch-Site", "same-origin")
	var seen struct {
		Host   string
		Header http.Header
	}
	require.NoError(t, json.Unmarshal([]byte(text), &seen))
	require.Equal(t, id, seen.Header.Get("X-Request-Id"))
	require.Equal(t, "k", seen.Header.Get("Idempotency-Key"))
	require.Equal(t, "127.0.0.1", seen.Header.Get("X-Forwarded-For"), "who is here, not who was claimed")
	require.Empty(t, seen.Header.Get("Origin")+seen.Header.Get("Sec-Fetch-Site"))
	require.NotEqual(t, strings.TrimPrefix(d.URL(), "http://"), seen.Host)
	require.Equal(t, []string{id}, response.Header["X-Request-Id"], "once")
	require.Len(t, response.Header["X-Content-Type-Options"], 1)
	require.NotEmpty(t, response.Header.Get("Content-Security-Policy"))
}

func TestProxy_NamesUnreachableModuleAndServesOthers(t *testing.T) {
	t.Parallel()
	broken := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	d := open(t, map[string]http.Handler{"payment": nil, "inquiry": broken, "delivery": module{"delivery", false}})
	for path, name := range map[string]string{"/payments/1": "payment", "/rooms/1": "inquiry"} {
		response, text := ask(t, http.MethodGet, d.URL()+path, "")
		require.Equal(t, http.StatusBadGateway, response.StatusCode, text)
		require.Equal(t, "application/problem+json", response.Header.Get("Content-Type"))
		require.Contains(t, text, "the module "+name+" does not answer")
		require.Contains(t, text, "urn:uuid:"+response.Header.Get("X-Request-Id"))
	}
	response, _ := ask(t, http.MethodGet, d.URL()+"/deliveries/goods-1", "")
	require.Equal(t, http.StatusTeapot, response.StatusCode)
	response, text := ask(t, http.MethodGet, d.URL()+"/readyz", "")
	require.Equal(t, http.StatusServiceUnavailable, response.StatusCode)
	for _, name := range []string{"payment", "inquiry", "delivery"} {
		require.Contains(t, text, `"name":"`+name+`","ok":false`)
	}
	require.NotContains(t, text, "127.0.0.1", "where modules are is for the log")
	response, _ = ask(t, http.MethodGet, d.URL()+"/livez", "")
	require.Equal(t, http.StatusOK, response.StatusCode)
}

func TestProxy_NeedsAddressOfEveryModuleWithOperations(t *testing.T) {
	t.Parallel()
	cfg := config.Default()
	cfg.HTTP.Address = "127.0.0.1:0"
	for _, name := range app.Modules() {
		if name != "payment" {
			cfg.Proxy.Modules = append(cfg.Proxy.Modules, name+"=http://127.0.0.1:1")
		}
	}
	_, err := New(cfg, "test", slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "proxy.modules: has no address of payment")
	cfg.Proxy.Modules = append(cfg.Proxy.Modules, "payment=http://127.0.0.1:1/path", "billing=http://127.0.0.1:1", cfg.Proxy.Modules[0])
	_, err = New(cfg, "test", slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "and nothing more")
	require.ErrorContains(t, err, `there is no module "billing"`)
	require.ErrorContains(t, err, "is listed twice")
}

func TestProxy_NeedsNoAddressOfModuleWithoutOperations(t *testing.T) {
	t.Parallel()
	routes := []app.Route{{Module: "payment", Path: "/payments"}, {Module: "payment", Path: "/payments/{id}"}, {Module: "inquiry", Path: "/rooms"}}
	require.Equal(t, []string{"payment"}, without(map[string]*url.URL{"inquiry": {}}, routes))
	require.Empty(t, without(map[string]*url.URL{"inquiry": {}, "payment": {}}, routes), "nor of loyalty, which has none")
}

func TestProxy_ReportsAddressInUse(t *testing.T) {
	t.Parallel()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	cfg := config.Default()
	cfg.HTTP.Address = l.Addr().String()
	for _, name := range app.Modules() {
		cfg.Proxy.Modules = append(cfg.Proxy.Modules, name+"=http://127.0.0.1:1")
	}
	_, err = New(cfg, "test", slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "http.address")
}

// TestProxy_RefusesForeignPage tests DNS rebinding: a page's host name resolves to an
// exposed proxy, so the browser treats both as the same site.
func TestProxy_RefusesForeignPage(t *testing.T) {
	t.Parallel()
	var reached atomic.Int64
	payment := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) })
	d := open(t, map[string]http.Handler{"payment": payment}, func(cfg *config.Config) {
		cfg.HTTP.Address, cfg.HTTP.InsecureExposeWithoutLogin = "0.0.0.0:0", true
		cfg.HTTP.PublicHosts = []string{"shop.example"}
	})
	for host, status := range map[string]int{"evil.example:8080": http.StatusMisdirectedRequest, "127.0.0.1:8080": http.StatusForbidden} {
		response, text := ask(t, http.MethodPost, d.URL()+"/payments", "{}", "Host", host, "Origin", "http://evil.example:8080", "Sec-Fetch-Site", "same-origin")
		require.Equal(t, status, response.StatusCode, text)
		require.Contains(t, text, "http.public_hosts")
	}
	require.Zero(t, reached.Load())
	for _, host := range []string{"shop.example", "localhost:8080"} {
		response, text := ask(t, http.MethodPost, d.URL()+"/payments", "{}", "Host", host, "Origin", "https://"+host)
		require.Equal(t, http.StatusOK, response.StatusCode, text)
	}
	require.EqualValues(t, 2, reached.Load())
	response, _ := ask(t, http.MethodGet, d.URL()+"/readyz", "", "Host", "pod-7.example")
	require.Equal(t, http.StatusOK, response.StatusCode, "a probe uses whatever address it has")
}

// TestProxy_ModuleThatRefusesItsHostIsNotReady: a module's /readyz answers for any
// host, but its operations do not.
func TestProxy_ModuleThatRefusesItsHostIsNotReady(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	mux.Handle("/", module{"payment", true})
	allows := func(hosts *web.Hosts) http.Handler { // as if the module's address had this name
		guarded := web.Handler(mux, slog.New(slog.DiscardHandler), nil, hosts.Guard)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Host = "payment:8081"
			guarded.ServeHTTP(w, r)
		})
	}
	d := open(t, map[string]http.Handler{"payment": allows(web.NewHosts("http.public_hosts")), "delivery": allows(web.NewHosts("http.public_hosts", "payment"))})
	response, text := ask(t, http.MethodGet, d.URL()+"/readyz", "")
	require.Equal(t, http.StatusServiceUnavailable, response.StatusCode)
	require.Contains(t, text, `"name":"payment","ok":false`)
	require.Contains(t, text, `"name":"delivery","ok":true`)
	response, text = ask(t, http.MethodGet, d.URL()+"/payments/1", "")
	require.Equal(t, http.StatusBadGateway, response.StatusCode, text)
	response, _ = ask(t, http.MethodGet, d.URL()+"/deliveries/goods-1", "")
	require.Equal(t, http.StatusTeapot, response.StatusCode)
}

// TestProxy_RefusesRequestsAboveTheLimit: it refuses requests above http.max_requests
// instead of forwarding them, and /livez still answers.
func TestProxy_RefusesRequestsAboveTheLimit(t *testing.T) {
	t.Parallel()
	arrived, finish := make(chan struct{}, 100), make(chan struct{})
	slow := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { arrived <- struct{}{}; <-finish })
	const most = 8
	d := open(t, map[string]http.Handler{"consultation": slow}, func(cfg *config.Config) { cfg.HTTP.MaxRequests = most })
	var working sync.WaitGroup
	for range most {
		working.Go(func() {
			response, err := http.Get(d.URL() + "/consultations/1")
			if err == nil {
				err = response.Body.Close()
			}
			if err != nil || response.StatusCode != http.StatusOK {
				t.Errorf("what was in work was not finished: %v", err)
			}
		})
		<-arrived
	}
	response, text := ask(t, http.MethodGet, d.URL()+"/payments/1", "")
	require.Equal(t, http.StatusServiceUnavailable, response.StatusCode, text)
	require.Equal(t, "1", response.Header.Get("Retry-After"))
	response, _ = ask(t, http.MethodGet, d.URL()+"/livez", "")
	require.Equal(t, http.StatusOK, response.StatusCode)
	close(finish)
	working.Wait()
	response, _ = ask(t, http.MethodGet, d.URL()+"/payments/1", "")
	require.Equal(t, http.StatusTeapot, response.StatusCode)
	require.Empty(t, arrived)
}

func TestProxy_LogsUnreachableModuleWithoutRequestData(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	d := openWith(t, slog.New(slog.NewJSONHandler(&log, nil)), map[string]http.Handler{"payment": nil})
	response, _ := ask(t, http.MethodGet, d.URL()+"/payments/canary?name=canary", "")
	require.Equal(t, http.StatusBadGateway, response.StatusCode)
	require.Contains(t, log.String(), `"route":"GET /payments/{`)
	require.NotContains(t, log.String(), "canary")
}
