package front

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
	"millrace/platform/bus"
	"millrace/platform/errs"
	"millrace/platform/telemetry"
	"millrace/platform/web"
)

// Door is the front door. Make it with New; Run it once.
type Door struct {
	server *web.Server
	pool   *http.Transport
	log    *slog.Logger
}

// finishRequests is as long as a request may take.
const finishRequests = 10 * time.Second

// New takes the address, http.address. cfg.Front.Modules must name where every
// module is.
func New(cfg config.Config, version string, log *slog.Logger) (*Door, error) {
	if err := cfg.Validate(app.Modules()); err != nil {
		return nil, err
	}
	targets := cfg.Front.Targets()
	var missing []string
	for _, name := range app.Modules() {
		if targets[name] == nil {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return nil, errs.InvalidField("front.modules", "does not say where %s is: --to %s=http://127.0.0.1:8081, for each module", strings.Join(missing, ", "), missing[0])
	}
	d := &Door{log: log, pool: &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
		TLSHandshakeTimeout: 2 * time.Second, ResponseHeaderTimeout: finishRequests,
		MaxIdleConnsPerHost: 64, IdleConnTimeout: 30 * time.Second, // shorter than a module keeps an idle connection
		MaxResponseHeaderBytes: 64 << 10,
	}}
	handler, err := d.routes(cfg, targets, version)
	if err != nil {
		return nil, err
	}
	if d.server, err = web.Listen(cfg.HTTP.Address, "http.address", handler, log); err != nil {
		return nil, err
	}
	return d, nil
}

func (d *Door) routes(cfg config.Config, targets map[string]*url.URL, version string) (http.Handler, error) {
	mux := http.NewServeMux()
	routes, err := app.Routes(mux, version, d.log)
	if err != nil {
		return nil, err
	}
	var checks []telemetry.Check
	proxies := map[string]http.Handler{}
	for name, target := range targets {
		proxies[name] = d.proxy(name, target)
		checks = append(checks, telemetry.Check{
			Name: name, Help: "look at the module's own /readyz, at " + target.String(),
			Probe: func(ctx context.Context) error { return d.ready(ctx, target) },
		})
	}
	slices.SortFunc(checks, func(a, b telemetry.Check) int { return strings.Compare(a.Name, b.Name) })
	for _, route := range routes {
		mux.Handle(route.Method+" "+route.Path, proxies[route.Module])
	}
	telemetry.ServeHealth(mux, d.log, checks...)
	links := []web.Link{
		{Href: "/docs", Name: "API", Korean: "모든 모듈의 모든 요청의 설명.", English: "Every operation of every module."},
		{Href: "/openapi.json", Name: "OpenAPI 3.1", Korean: "같은 설명을 프로그램이 읽는 형식으로.", English: "The same description for programs."},
		{Href: "/readyz", Name: "/readyz", Korean: "모든 모듈이 일할 준비가 되었는지.", English: "Whether every module is ready."},
		{Href: "/livez", Name: "/livez", Korean: "프로그램이 살아 있는지.", English: "Whether it is alive."},
	}
	if err := web.StartPage(mux, version, slices.Sorted(maps.Keys(targets)), links); err != nil {
		return nil, err
	}
	if cfg.HTTP.InsecureExposeWithoutLogin {
		return web.Handler(mux, d.log), nil
	}
	return web.Handler(mux, d.log, web.LoopbackOnly), nil
}

// ours are the headers of an answer that were set here already.
type ours struct{}

// proxy passes requests on to one module.
func (d *Door) proxy(module string, target *url.URL) http.Handler {
	proxy := &httputil.ReverseProxy{
		Transport: d.pool,
		ErrorLog:  slog.NewLogLogger(d.log.Handler(), slog.LevelWarn),
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target) // its host too: the module takes requests for its own name only
			r.SetXForwarded()
			r.Out.Header.Set("X-Request-Id", bus.CorrelationFrom(r.In.Context()))
			for name := range r.Out.Header { // of another site's page: that was decided here
				if name == "Origin" || strings.HasPrefix(name, "Sec-Fetch-") {
					r.Out.Header.Del(name)
				}
			}
		},
		ModifyResponse: func(response *http.Response) error {
			if names, ok := response.Request.Context().Value(ours{}).([]string); ok {
				for _, name := range names { // or they would be there twice
					response.Header.Del(name)
				}
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			var large *http.MaxBytesError
			switch {
			case errors.As(err, &large):
				web.Refuse(w, r, http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes", web.MaxBody))
				return
			case errors.Is(err, context.Canceled):
				return // the caller left: nobody to tell
			}
			d.log.WarnContext(r.Context(), "a module does not answer", "module", module, "method", r.Method, "path", r.URL.Path,
				"correlation_id", bus.CorrelationFrom(r.Context()), "error", err)
			web.Refuse(w, r, http.StatusBadGateway, "the module "+module+" does not answer; this may have happened: repeat the request later, with the same key")
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		names := slices.Collect(maps.Keys(w.Header()))
		proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), ours{}, names)))
	})
}

// ready asks a module whether it is.
func (d *Door) ready(ctx context.Context, target *url.URL) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.JoinPath("readyz").String(), http.NoBody)
	if err != nil {
		return err
	}
	response, err := d.pool.RoundTrip(request)
	if err != nil {
		return errs.As(errs.Resource, err)
	}
	_ = response.Body.Close() // the status is the answer
	if response.StatusCode != http.StatusOK {
		return errs.New(errs.Resource, "it answers %d", response.StatusCode)
	}
	return nil
}

// URL is where it is reached from this machine, without a slash at the end.
func (d *Door) URL() string { return d.server.URL() }

// Run serves until ctx ends, finishes the requests that are being answered (10
// s at most), and returns nil; or until the server ends by itself.
func (d *Door) Run(ctx context.Context) error {
	ended := make(chan error, 1)
	go func() { ended <- d.server.Serve() }()
	var cause error
	select {
	case <-ctx.Done():
	case cause = <-ended:
	}
	finish, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishRequests)
	defer cancel()
	if err := d.server.Shutdown(finish); err != nil {
		d.log.Warn("ending: left unfinished", "error", err)
	}
	d.pool.CloseIdleConnections()
	return cause
}
