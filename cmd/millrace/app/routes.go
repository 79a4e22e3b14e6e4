package app

import (
	"context"
	"net/http"

	"millrace/config"
	"millrace/platform/errs"
	"millrace/platform/telemetry"
	"millrace/platform/web"
)

// inboxPath is the path of the development inbox's page.
const inboxPath = "/dev/mail/"

// makeRoutes returns the handler for everything that this process answers.
func (a *App) makeRoutes() (http.Handler, error) {
	mux := http.NewServeMux()
	api := web.NewAPI(mux, a.version, a.log)
	names := make([]string, 0, len(a.hosted))
	for _, m := range a.hosted {
		m.Routes(api)
		names = append(names, m.Name())
	}
	telemetry.ServeHealth(mux, a.log, a.checks()...)
	if err := telemetry.ServeMetrics(mux, a.log, a.metrics()...); err != nil {
		return nil, err
	}
	if a.inbox != nil {
		mux.Handle(inboxPath, http.StripPrefix(inboxPath[:len(inboxPath)-1], a.inbox.Handler()))
	}
	if err := web.StartPage(mux, a.version, names, a.links()); err != nil {
		return nil, err
	}
	return a.guarded(mux), nil
}

func (a *App) links() []web.Link {
	links := []web.Link{
		{Href: "/docs", Name: "API", Korean: "모든 요청의 설명. 여기에서 바로 불러 볼 수 있습니다.", English: "Every operation, described and to be tried."},
		{Href: "/openapi.json", Name: "OpenAPI 3.1", Korean: "같은 설명을 프로그램이 읽는 형식으로.", English: "The same description for programs."},
		{Href: "/readyz", Name: "/readyz", Korean: "일할 준비가 되었는지, 아니라면 무엇을 해야 하는지.", English: "Whether it is ready, and if not, what to do."},
		{Href: "/livez", Name: "/livez", Korean: "프로그램이 살아 있는지.", English: "Whether it is alive."},
	}
	links = append(links, web.Link{Href: "/metrics", Name: "/metrics", Korean: "운영 지표 (Prometheus 형식).", English: "Figures for an operator's dashboard, in Prometheus' format."})
	if a.inbox != nil {
		links = append(links, web.Link{Href: inboxPath, Name: "Mail", Korean: "보낸 메일을 모아 둔 개발용 편지함. 밖으로는 나가지 않습니다.", English: "The development inbox: every mail that was sent, and none leaves."})
	}
	if url := a.SimulatorURL(); url != "" {
		links = append(links, web.Link{Href: url + "/", Name: "Gateway simulator", Korean: "개발용 결제 대행사와 그 장부. 실제 돈은 움직이지 않습니다.", English: "The stand-in for the payment gateway, and its book. No money moves."})
	}
	return links
}

// checks are the readiness checks of /readyz.
func (a *App) checks() []telemetry.Check {
	checks := []telemetry.Check{
		{
			Name: "database", Help: "start PostgreSQL, or correct database.url; the program goes on by itself",
			Probe: func(ctx context.Context) error {
				var one int
				return a.probe.QueryRowContext(ctx, "SELECT 1").Scan(&one)
			},
		},
		{
			Name: "lease", Help: "the process could not renew its lease in time: look at the database's load and at this machine's",
			Probe: func(context.Context) error { return a.transport.Healthy() },
		},
		{
			Name: "router", Help: "messages are not handled: it is starting, or about to exit; if this stays, restart it",
			Probe: func(context.Context) error {
				if !a.router.IsRunning() || a.router.IsClosed() {
					return errs.New(errs.Resource, "the router is not running")
				}
				return nil
			},
		},
		{
			Name: "subscriptions", Help: "messages wait until the fault that detail names is gone, and no attempt is used: see \"subscription paused\" in the log",
			Probe: func(context.Context) error { return a.transport.Paused() }, DegradesOnly: true,
		},
		{
			Name: "process", Help: "it is going down: send requests to another",
			Probe: func(context.Context) error {
				if a.stopping.Load() {
					return errs.New(errs.Shutdown, "going down")
				}
				return nil
			},
		},
	}
	for _, m := range a.hosted {
		checks = append(checks, m.Checks()...)
	}
	if a.cfg.Transport == config.OnKafka {
		checks = append(checks, telemetry.Check{
			Name: "kafka", Help: "messages wait for the brokers; requests are served and nothing is lost: look at the brokers, and at kafka.brokers",
			Probe: func(context.Context) error { return a.transport.Flowing() }, DegradesOnly: true,
		})
	}
	return checks
}
