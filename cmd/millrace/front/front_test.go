package front

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/cmd/millrace/app"
	"millrace/config"
)

// module stands in for a module's process: it tells what reached it.
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
	body, _ := io.ReadAll(r.Body) // what cannot be read is not told
	w.Header().Set("X-Body", string(body))
	w.WriteHeader(http.StatusTeapot)
	_ = json.NewEncoder(w).Encode(map[string]any{"module": m.name, "path": r.URL.RequestURI(), "host": r.Host, "header": r.Header})
}

// open opens a front door before such modules. Those that change says are
// changed, and a nil one is away.
func open(t *testing.T, change map[string]http.Handler) *Door {
	t.Helper()
	cfg := config.Default()
	cfg.HTTP.Address = "127.0.0.1:0"
	for _, name := range app.Modules() {
		handler, changed := change[name]
		if !changed {
			handler = module{name, true}
		}
		if handler == nil { // a port that was closed may be another server's by now
			cfg.Front.Modules = append(cfg.Front.Modules, name+"=http://127.0.0.1:1")
			continue
		}
		server := httptest.NewServer(handler)
		t.Cleanup(server.Close)
		cfg.Front.Modules = append(cfg.Front.Modules, name+"="+server.URL)
	}
	d, err := New(cfg, "test", slog.New(slog.DiscardHandler))
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

// TestEveryOperationOfEveryModuleReachesThatModule sends a request to each
// operation that the modules register.
func TestEveryOperationOfEveryModuleReachesThatModule(t *testing.T) {
	t.Parallel()
	d := open(t, nil)
	routes, err := app.Routes(http.NewServeMux(), "test", slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	reached := map[string]int{}
	for _, route := range routes {
		path := strings.NewReplacer("{", "", "}", "").Replace(route.Path) + "?a=b%20c"
		response, text := ask(t, route.Method, d.URL()+path, `{"x":1}`)
		require.Equal(t, http.StatusTeapot, response.StatusCode, "%s: %s", path, text)
		var told struct{ Module, Path string }
		require.NoError(t, json.Unmarshal([]byte(text), &told))
		require.Equal(t, route.Module, told.Module, path)
		require.Equal(t, path, told.Path)
		require.Equal(t, `{"x":1}`, response.Header.Get("X-Body"))
		reached[told.Module]++
	}
	require.Len(t, reached, len(app.Modules()), "%v", reached)
	_, description := ask(t, http.MethodGet, d.URL()+"/openapi.json", "")
	for _, route := range routes {
		require.Contains(t, description, `"`+route.Path+`"`)
	}
	for _, page := range []string{"/", "/docs", "/livez", "/readyz"} {
		response, _ := ask(t, http.MethodGet, d.URL()+page, "")
		require.Equal(t, http.StatusOK, response.StatusCode, page)
	}
}

func TestWhatNoModuleHasIsRefusedHere(t *testing.T) {
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

func TestAModuleSeesOneRequestFromHereWithItsIdAndNothingThatTheCallerClaims(t *testing.T) {
	t.Parallel()
	d := open(t, nil)
	const id = "0199f000-0000-7000-8000-000000000001"
	response, text := ask(t, http.MethodPost, d.URL()+"/payments", "{}", "X-Request-Id", id, "Idempotency-Key", "k",
		"X-Forwarded-For", "192.0.2.1", "Origin", d.URL(), "Sec-Fetch-Site", "same-origin")
	var told struct {
		Host   string
		Header http.Header
	}
	require.NoError(t, json.Unmarshal([]byte(text), &told))
	require.Equal(t, id, told.Header.Get("X-Request-Id"))
	require.Equal(t, "k", told.Header.Get("Idempotency-Key"))
	require.Equal(t, "127.0.0.1", told.Header.Get("X-Forwarded-For"), "who is here, not who was claimed")
	require.Empty(t, told.Header.Get("Origin")+told.Header.Get("Sec-Fetch-Site"))
	require.NotEqual(t, strings.TrimPrefix(d.URL(), "http://"), told.Host)
	require.Equal(t, []string{id}, response.Header["X-Request-Id"], "once")
	require.Len(t, response.Header["X-Content-Type-Options"], 1)
	require.NotEmpty(t, response.Header.Get("Content-Security-Policy"))
}

func TestAModuleThatDoesNotAnswerIsNamedAndTheOthersServe(t *testing.T) {
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
	response, _ = ask(t, http.MethodGet, d.URL()+"/livez", "")
	require.Equal(t, http.StatusOK, response.StatusCode)
}

func TestItDoesNotOpenWithoutKnowingWhereEveryModuleIs(t *testing.T) {
	t.Parallel()
	cfg := config.Default()
	cfg.HTTP.Address = "127.0.0.1:0"
	for _, name := range app.Modules()[1:] {
		cfg.Front.Modules = append(cfg.Front.Modules, name+"=http://127.0.0.1:1")
	}
	_, err := New(cfg, "test", slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "front.modules: does not say where "+app.Modules()[0]+" is")
	cfg.Front.Modules = append(cfg.Front.Modules, app.Modules()[0]+"=http://127.0.0.1:1/path", "billing=http://127.0.0.1:1", cfg.Front.Modules[0])
	_, err = New(cfg, "test", slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "and nothing more")
	require.ErrorContains(t, err, `there is no module "billing"`)
	require.ErrorContains(t, err, "is listed twice")
}

func TestAnAddressInUseIsTold(t *testing.T) {
	t.Parallel()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	cfg := config.Default()
	cfg.HTTP.Address = l.Addr().String()
	for _, name := range app.Modules() {
		cfg.Front.Modules = append(cfg.Front.Modules, name+"=http://127.0.0.1:1")
	}
	_, err = New(cfg, "test", slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "http.address")
}
