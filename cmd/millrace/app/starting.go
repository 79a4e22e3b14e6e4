package app

import (
	"net/http"

	"millrace/platform/telemetry"
	"millrace/platform/web"
)

// begin records the current step of the start. /readyz shows it until the program
// is ready: a step can take long, for example while another process migrates.
func (a *App) begin(phase string) {
	a.phase.Store(&phase)
	a.log.Info("starting", "phase", phase)
}

// whileStarting answers requests until the program is ready: /livez with 200, so
// that an orchestrator does not kill it during a migration, and all other paths
// with 503.
func (a *App) whileStarting() http.Handler {
	mux := http.NewServeMux()
	telemetry.ServeStarting(mux, func() string { return *a.phase.Load() })
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "1")
		web.Refuse(w, r, http.StatusServiceUnavailable, "this server is starting; repeat the request in a moment")
	})
	return a.guarded(mux)
}

// guarded wraps mux in the middleware that every request passes.
func (a *App) guarded(mux *http.ServeMux) http.Handler {
	return web.Handler(mux, a.log, a.limits, web.NewHosts("http.public_hosts", a.cfg.AllowedHosts()...).Guard)
}

// answerWith makes handler answer all later requests.
func (a *App) answerWith(handler http.Handler) { a.handler.Store(&handler) }

// serve answers with the current handler.
func (a *App) serve(w http.ResponseWriter, r *http.Request) {
	(*a.handler.Load()).ServeHTTP(w, r)
}
