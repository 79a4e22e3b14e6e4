package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"time"

	"millrace/cmd/millrace/app"
	"millrace/config"
	"millrace/platform/correlation"
	"millrace/platform/errs"
	"millrace/platform/redact"
	"millrace/platform/telemetry"
	"millrace/platform/web"
)

// Proxy is the reverse proxy. Make it with New; Run it once.
type Proxy struct {
	server *web.Server
	pool   *http.Transport
	log    *slog.Logger
}

// finishRequests is the time for requests in flight at shutdown: the time limit of a request.
const finishRequests = 10 * time.Second

// New listens on http.address. cfg.Proxy.Modules must have the address of every
// module that has operations.
func New(cfg config.Config, version string, log *slog.Logger) (*Proxy, error) {
	if err := cfg.Validate(app.Modules()); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	routes, err := app.Routes(mux, version, log)
	if err != nil {
		return nil, err
	}
	targets := cfg.Proxy.Targets()
	if missing := without(targets, routes); len(missing) > 0 {
		return nil, errs.InvalidField("proxy.modules", "has no address of %s: --to %s=http://127.0.0.1:8081, for each module that has operations", strings.Join(missing, ", "), missing[0])
	}
	p := &Proxy{log: log, pool: &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
		TLSHandshakeTimeout: 2 * time.Second, ResponseHeaderTimeout: finishRequests,
		MaxIdleConnsPerHost: 64, IdleConnTimeout: 30 * time.Second, // shorter than a module's own idle timeout
		MaxResponseHeaderBytes: 64 << 10,
	}}
	limits := web.NewLimits(log, cfg.HTTP.MaxRequests, cfg.HTTP.MaxConnections)
	handler, err := p.handler(cfg, limits, mux, routes, targets, version)
	if err != nil {
		return nil, err
	}
	if p.server, err = web.Listen(cfg.HTTP.Address, "http.address", handler, limits, log); err != nil {
		return nil, err
	}
	return p, nil
}

// without lists the modules that have operations but no address.
func without(targets map[string]*url.URL, routes []app.Route) (missing []string) {
	for _, route := range routes {
		if targets[route.Module] == nil && !slices.Contains(missing, route.Module) {
			missing = append(missing, route.Module)
		}
	}
	return missing
}

// handler registers everything that the proxy answers on mux, which already has the
// description of the operations.
func (p *Proxy) handler(cfg config.Config, limits *web.Limits, mux *http.ServeMux, routes []app.Route, targets map[string]*url.URL, version string) (http.Handler, error) {
	var checks []telemetry.Check
	proxies := map[string]http.Handler{}
	for name, target := range targets {
		proxies[name] = p.to(name, target)
		checks = append(checks, telemetry.Check{
			Name: name, Help: "look at the module's own /readyz; the log has its address",
			Probe: func(ctx context.Context) error {
				if err := p.ready(ctx, target); err != nil {
					return fmt.Errorf("%s: %w", target.Host, err)
				}
				return nil
			},
		})
	}
	slices.SortFunc(checks, func(a, b telemetry.Check) int { return strings.Compare(a.Name, b.Name) })
	for _, route := range routes {
		mux.Handle(route.Method+" "+route.Path, proxies[route.Module])
	}
	telemetry.ServeHealth(mux, p.log, checks...)
	links := []web.Link{
		{Href: "/docs", Name: "API", Korean: "모든 모듈의 모든 요청의 설명.", English: "Every operation of every module."},
		{Href: "/openapi.json", Name: "OpenAPI 3.1", Korean: "같은 설명을 프로그램이 읽는 형식으로.", English: "The same description for programs."},
		{Href: "/readyz", Name: "/readyz", Korean: "모든 모듈이 일할 준비가 되었는지.", English: "Whether every module is ready."},
		{Href: "/livez", Name: "/livez", Korean: "프로그램이 살아 있는지.", English: "Whether it is alive."},
	}
	if err := web.StartPage(mux, version, slices.Sorted(maps.Keys(targets)), links); err != nil {
		return nil, err
	}
	return web.Handler(mux, p.log, limits, web.NewHosts("http.public_hosts", cfg.AllowedHosts()...).Guard), nil
}

// ours is the context key of the response headers that the proxy has already set.
type ours struct{}

// to forwards requests to one module.
func (p *Proxy) to(module string, target *url.URL) http.Handler {
	proxy := &httputil.ReverseProxy{
		Transport: p.pool,
		ErrorLog:  slog.NewLogLogger(p.log.Handler(), slog.LevelWarn),
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target) // also sets the host: the proxy has checked the caller's, and the module accepts its own
			r.SetXForwarded()
			r.Out.Header.Set("X-Request-Id", correlation.From(r.In.Context()))
			for name := range r.Out.Header { // the headers about cross-site requests, which the proxy has already checked
				if name == "Origin" || strings.HasPrefix(name, "Sec-Fetch-") {
					r.Out.Header.Del(name)
				}
			}
		},
		ModifyResponse: func(response *http.Response) error {
			if response.StatusCode == http.StatusMisdirectedRequest {
				return misdirected(target)
			}
			if names, ok := response.Request.Context().Value(ours{}).([]string); ok {
				for _, name := range names { // otherwise the response would have them twice
					response.Header.Del(name)
				}
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if errors.Is(err, context.Canceled) {
				return // the caller closed the connection
			}
			p.log.WarnContext(r.Context(), "a module does not answer", "module", module, "method", r.Method, "route", r.Pattern,
				"correlation_id", correlation.From(r.Context()), "error", redact.Error(err))
			web.Refuse(w, r, http.StatusBadGateway, "the module "+module+" does not answer; this may have happened: repeat the request later, with the same key")
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		names := slices.Collect(maps.Keys(w.Header()))
		proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), ours{}, names)))
	})
}

// ready asks a module's /readyz, and then checks that the module accepts the host
// with which requests are forwarded: /readyz answers for any host.
func (p *Proxy) ready(ctx context.Context, target *url.URL) error {
	for _, path := range []string{"readyz", "start.css"} {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.JoinPath(path).String(), http.NoBody)
		if err != nil {
			return err
		}
		response, err := p.pool.RoundTrip(request)
		if err != nil {
			return errs.As(errs.Resource, err)
		}
		_ = response.Body.Close() // only the status is used
		switch {
		case response.StatusCode == http.StatusMisdirectedRequest:
			return misdirected(target)
		case path == "readyz" && response.StatusCode != http.StatusOK:
			return errs.New(errs.Resource, "it answers %d", response.StatusCode)
		}
	}
	return nil
}

// misdirected is the error for a module that refuses the host of its address.
func misdirected(target *url.URL) error {
	return errs.New(errs.Resource, "it refuses the host %s: add that to http.public_hosts of its process", target.Hostname())
}

// URL is the proxy's address from this machine, without a trailing slash.
func (p *Proxy) URL() string { return p.server.URL() }

// Run serves until ctx ends, finishes the requests in flight (10 s at most), and
// returns nil. If the server ends by itself, Run returns its error.
func (p *Proxy) Run(ctx context.Context) error {
	ended := make(chan error, 1)
	go func() { ended <- p.server.Serve() }()
	var cause error
	select {
	case <-ctx.Done():
	case cause = <-ended:
	}
	finish, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishRequests)
	defer cancel()
	if err := p.server.Shutdown(finish); err != nil {
		p.log.Warn("ending: left unfinished", "error", err)
	}
	p.pool.CloseIdleConnections()
	return cause
}
