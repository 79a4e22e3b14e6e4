package app

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"millrace/config"
	"millrace/modules/payment/gateway/simulator"
	"millrace/platform/bus"
	"millrace/platform/mail/devinbox"
	"millrace/platform/module"
	"millrace/platform/telemetry"
	"millrace/platform/web"
)

// Options are what the caller decides. They are not part of the configuration.
type Options struct {
	Version string       // the program's version, as the pages and the API description show it
	Log     *slog.Logger // default: slog.Default()
}

// App is the running program. Make it with New, run it with Run, free it with Close.
type App struct {
	cfg     config.Config
	log     *slog.Logger
	version string
	hosted  []module.Module

	limits    *web.Limits
	server    *web.Server
	served    chan error                   // the server's error when it ends; nil after Shutdown
	handler   atomic.Pointer[http.Handler] // answers requests: whileStarting, then routes
	routes    http.Handler                 // the handler once the program is ready
	phase     atomic.Pointer[string]       // the current step of the start, shown by /readyz
	database  *Database
	simulator *simulator.Simulator // nil unless it runs in this process
	inbox     *devinbox.Inbox      // nil unless it runs in this process
	transport transport
	router    *message.Router

	probe    *bus.DB // a hosted module's handle, for the readiness check of the database
	ready    chan struct{}
	stopping atomic.Bool
	close    sync.Once
	closeErr error
}

// New validates cfg and prepares everything. As soon as it listens on
// http.address, /livez answers 200 and every other path 503, until Run has made
// the program ready. If New fails, it stops everything that it started.
func New(ctx context.Context, cfg config.Config, options Options) (_ *App, err error) {
	if err := cfg.Validate(Modules()); err != nil {
		return nil, err
	}
	a := &App{cfg: cfg, log: options.Log, version: options.Version, ready: make(chan struct{}), served: make(chan error, 1)}
	if a.log == nil {
		a.log = slog.Default()
	}
	defer func() {
		if err != nil {
			_ = a.Close() // report the first error
		}
	}()
	// The topology covers all modules, including those that other processes host.
	topology, err := topologyOf(declared(cfg))
	if err != nil {
		return nil, err
	}
	hosted := cfg.Modules
	if len(hosted) == 0 {
		hosted = topology.Modules()
	}
	a.limits = web.NewLimits(a.log, cfg.HTTP.MaxRequests, cfg.HTTP.MaxConnections)
	a.answerWith(a.whileStarting())
	if a.server, err = web.Listen(cfg.HTTP.Address, "http.address", http.HandlerFunc(a.serve), a.limits, a.log); err != nil {
		return nil, err
	}
	a.log.Info("listening", "url", a.URL())
	a.begin("connecting to the database")
	go func() { a.served <- a.server.Serve() }()
	if err := prepareFolders(cfg, hosted, a.log); err != nil {
		return nil, err
	}
	if a.database, err = startDatabase(ctx, cfg, a.log); err != nil {
		return nil, err
	}
	if err := checkPools(ctx, cfg, a.database.URL(), hosted); err != nil {
		return nil, err
	}
	a.begin("migrating the database")
	if err := prepare(ctx, cfg, a.database, topology, hosted); err != nil {
		return nil, err
	}
	a.begin("opening the message transport")
	out, err := a.openOutside(hosted)
	if err != nil {
		return nil, err
	}
	if a.transport, err = openTransport(ctx, cfg, a.database.URL(), topology, hosted, a.log); err != nil {
		return nil, err
	}
	if err := a.build(hosted, out); err != nil {
		return nil, err
	}
	return a, nil
}

// build makes the modules on their handles, the router and the routes.
func (a *App) build(hosted []string, out outside) error {
	all := modules(a.cfg, a.transport.DB, out)
	for _, m := range all {
		if slices.Contains(hosted, m.Name()) {
			a.hosted = append(a.hosted, m)
		}
	}
	a.probe = a.transport.DB(hosted[0])
	// Build the topology again: these modules have database handles, so the handlers work.
	topology, err := topologyOf(all)
	if err != nil {
		return err
	}
	a.router, err = bus.NewRouter(topology, hosted, a.transport.Subscriber, a.log, telemetry.Watermill(a.log))
	if err != nil {
		return err
	}
	a.routes, err = a.makeRoutes()
	return err
}

// openOutside starts, in development, the gateway simulator and the mail inbox,
// and returns the addresses of the outside systems.
func (a *App) openOutside(hosted []string) (outside, error) {
	out := outside{
		gatewayURL: a.cfg.Payment.Gateway.URL, callbackURL: a.cfg.Payment.CallbackURL,
		smtpHost: a.cfg.Mail.SMTP.Host, smtpPort: a.cfg.Mail.SMTP.Port,
	}
	if out.callbackURL == "" {
		out.callbackURL = a.URL() + "/callbacks/gateway"
	}
	if a.cfg.Simulator() && slices.Contains(hosted, "payment") {
		var err error
		if out.simulatorSecret, err = simulator.KeptSecret(filepath.Join(a.cfg.DataDir, "simulator.secret")); err != nil {
			return out, err
		}
		s, err := simulator.New(simulator.Config{
			Seed: a.cfg.Payment.Gateway.SimulatorSeed, Address: a.cfg.Payment.Gateway.SimulatorAddress,
			Secret: out.simulatorSecret, CallbackURL: out.callbackURL, Log: a.log,
			File: filepath.Join(a.cfg.DataDir, "simulator.json"), // so that charges made before a restart can still be refunded
		})
		if err != nil {
			return out, err
		}
		if err := s.Start(); err != nil {
			return out, err
		}
		a.simulator, out.gatewayURL = s, s.URL()
	}
	if a.cfg.DevInbox() && slices.Contains(hosted, "notification") {
		inbox, err := devinbox.Start(devinbox.Config{})
		if err != nil {
			return out, err
		}
		a.inbox = inbox
		out.smtpHost, out.smtpPort = inbox.HostPort()
	}
	return out, nil
}

// URL is the program's address from this machine, without a trailing slash.
func (a *App) URL() string { return a.server.URL() }

// DatabaseURL is the URL of the program's database; it may contain a password.
func (a *App) DatabaseURL() string { return a.database.URL() }

// SimulatorURL is the URL of the gateway simulator, or "" if it does not run here.
func (a *App) SimulatorURL() string {
	if a.simulator == nil {
		return ""
	}
	return a.simulator.URL()
}

// Router returns the message router, which lists the handlers.
func (a *App) Router() *message.Router { return a.router }

// Ready is closed when the program handles messages and answers requests.
func (a *App) Ready() <-chan struct{} { return a.ready }

// Close frees what New took, in the opposite order. Call it after Run has
// returned, or without Run. Further calls return the first call's error.
func (a *App) Close() error {
	a.close.Do(func() {
		var failures []error
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if a.server != nil {
			failures = append(failures, a.server.Shutdown(ctx))
		}
		if a.transport != nil {
			failures = append(failures, a.transport.Close())
		}
		if a.inbox != nil {
			failures = append(failures, a.inbox.Close())
		}
		if a.simulator != nil {
			failures = append(failures, a.simulator.Close())
		}
		if a.database != nil {
			failures = append(failures, a.database.Close())
		}
		a.closeErr = errors.Join(failures...)
	})
	return a.closeErr
}
