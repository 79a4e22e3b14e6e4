package app

import (
	"context"
	"errors"
	"fmt"
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
	"millrace/platform/telemetry"
	"millrace/platform/web"
)

// Options are what the caller decides, and no configuration.
type Options struct {
	Version string       // what the program calls itself
	Log     *slog.Logger // default: slog.Default()
}

// App is the running program. Make it with New; Run it; Close it.
type App struct {
	cfg     config.Config
	log     *slog.Logger
	version string
	hosted  []module

	server    *web.Server
	handler   atomic.Pointer[http.Handler]
	database  *Database
	simulator *simulator.Simulator // nil unless it is in this process
	inbox     *devinbox.Inbox      // likewise
	transport transport
	router    *message.Router

	probe    *bus.DB // a hosted module's handle, to ask whether the database answers
	ready    chan struct{}
	stopping atomic.Bool
	close    sync.Once
	closeErr error
}

// New prepares everything and serves nothing yet. cfg is validated here. What
// was started is ended again if there is an error.
func New(ctx context.Context, cfg config.Config, options Options) (_ *App, err error) {
	if err := cfg.Validate(Modules()); err != nil {
		return nil, err
	}
	a := &App{cfg: cfg, log: options.Log, version: options.Version, ready: make(chan struct{})}
	if a.log == nil {
		a.log = slog.Default()
	}
	defer func() {
		if err != nil {
			_ = a.Close() // the first error is the one to tell
		}
	}()
	// What modules declare does not depend on where they are hosted.
	topology, err := topologyOf(declared(cfg))
	if err != nil {
		return nil, err
	}
	hosted := cfg.Modules
	if len(hosted) == 0 {
		hosted = topology.Modules()
	}
	if a.server, err = web.Listen(cfg.HTTP.Address, "http.address", http.HandlerFunc(a.serve), a.log); err != nil {
		return nil, err
	}
	if a.database, err = startDatabase(ctx, cfg, a.log); err != nil {
		return nil, err
	}
	if err := checkPools(ctx, cfg, a.database.URL(), hosted); err != nil {
		return nil, err
	}
	if err := prepare(ctx, cfg, a.database, topology, hosted); err != nil {
		return nil, err
	}
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
	// The handlers are those of these modules, which have their handles.
	topology, err := topologyOf(all)
	if err != nil {
		return err
	}
	a.router, err = bus.NewRouter(topology, hosted, a.transport.Subscriber, a.log, telemetry.Watermill(a.log))
	if err != nil {
		return err
	}
	handler, err := a.routes()
	if err != nil {
		return err
	}
	a.handler.Store(&handler)
	return nil
}

// openOutside starts, in development, what stands in for the outside, and says
// where the outside is.
func (a *App) openOutside(hosted []string) (outside, error) {
	out := outside{
		gatewayURL: a.cfg.Payment.Gateway.URL, callbackURL: a.cfg.Payment.CallbackURL,
		smtpHost: a.cfg.Mail.SMTP.Host, smtpPort: a.cfg.Mail.SMTP.Port,
	}
	if out.callbackURL == "" {
		out.callbackURL = a.URL() + "/callbacks/gateway"
	}
	if a.cfg.Simulator() && slices.Contains(hosted, "payment") {
		s, err := simulator.New(simulator.Config{
			Seed: a.cfg.Payment.Gateway.SimulatorSeed, Address: a.cfg.Payment.Gateway.SimulatorAddress,
			Secret: a.cfg.Payment.Secrets[0].Reveal(), Log: a.log,
			File: filepath.Join(a.cfg.DataDir, "simulator.json"), // or it would refuse to refund what it took before a restart
		})
		if err != nil {
			return out, err
		}
		if err := s.Start(); err != nil {
			return out, fmt.Errorf("%w (set payment.gateway.simulator_address to another port, or to 127.0.0.1:0 for any)", err)
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

// serve answers with the routes, once there are any: the port is taken first.
func (a *App) serve(w http.ResponseWriter, r *http.Request) {
	(*a.handler.Load()).ServeHTTP(w, r)
}

// URL is where the program is reached from this machine, without a slash at
// the end.
func (a *App) URL() string { return a.server.URL() }

// DatabaseURL is where its database is; it may hold a password.
func (a *App) DatabaseURL() string { return a.database.URL() }

// SimulatorURL is where the gateway simulator is, or "" if there is none here.
func (a *App) SimulatorURL() string {
	if a.simulator == nil {
		return ""
	}
	return a.simulator.URL()
}

// Router shows the handlers that there are.
func (a *App) Router() *message.Router { return a.router }

// Ready is closed when messages are handled and requests are answered.
func (a *App) Ready() <-chan struct{} { return a.ready }

// Close gives back what New took, in the opposite order. Run must have
// returned, or never have been called. More calls return what the first did.
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
