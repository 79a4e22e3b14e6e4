package telemetry

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"millrace/platform/errs"
)

// Check is one condition for the program to be ready.
type Check struct {
	Name  string                          // for example "database"
	Help  string                          // what to do if it fails
	Probe func(ctx context.Context) error // called concurrently, with a time limit of two seconds
	// DegradesOnly means that requests can be served although the check fails: the
	// answer is "degraded", with status 200.
	DegradesOnly bool
}

// dated is an error that knows when it began; the answer shows it.
type dated interface{ Since() time.Time }

// public is an error with a part that may be shown to anybody: names of the
// program's own components and faults, nothing from a message or a request.
type public interface{ Public() string }

const probeTimeout = 2 * time.Second

type checkResult struct {
	Name    string `json:"name"`
	OK      bool   `json:"ok"`
	Problem string `json:"problem,omitempty"` // the error's kind
	Detail  string `json:"detail,omitempty"`  // the public part of the error
	Since   string `json:"since,omitempty"`   // when it began, if the error knows
	Help    string `json:"help,omitempty"`
}

type healthAnswer struct {
	Status string        `json:"status"` // ok, degraded, or failing
	Checks []checkResult `json:"checks,omitempty"`
}

// ServeHealth serves /livez and /readyz.
func ServeHealth(mux *http.ServeMux, log *slog.Logger, checks ...Check) {
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, healthAnswer{Status: healthy})
	})
	state := &health{checks: checks, log: log, failing: make([]bool, len(checks))}
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		results, status := state.probe(r.Context())
		code := http.StatusOK
		if status == failing {
			code = http.StatusServiceUnavailable
		}
		answer(w, code, healthAnswer{status, results})
	})
}

// ServeStarting serves /livez and /readyz while the program starts: it is alive
// and not ready. phase names the current step.
func ServeStarting(mux *http.ServeMux, phase func() string) {
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, healthAnswer{Status: healthy})
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "1")
		answer(w, http.StatusServiceUnavailable, healthAnswer{failing, []checkResult{{
			Name: "start", Problem: "starting: " + phase(),
			Help: "it takes requests as soon as it has started; if this stays, look at its log, and at what holds locks in the database",
		}}})
	})
}

func answer(w http.ResponseWriter, status int, body healthAnswer) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client has disconnected
}

const (
	healthy  = "ok"
	degraded = "degraded"
	failing  = "failing"
)

type health struct {
	checks []Check
	log    *slog.Logger

	mu      sync.Mutex
	failing []bool // the last result of each check, so that only changes are logged
}

// probe runs all checks concurrently.
func (h *health) probe(ctx context.Context) ([]checkResult, string) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	problems := make([]error, len(h.checks))
	var wg sync.WaitGroup
	for i, check := range h.checks {
		wg.Go(func() { problems[i] = check.Probe(ctx) })
	}
	wg.Wait()

	h.mu.Lock()
	defer h.mu.Unlock()
	results, status := make([]checkResult, len(h.checks)), healthy
	for i, check := range h.checks {
		err := problems[i]
		results[i] = checkResult{Name: check.Name, OK: err == nil}
		if err != nil {
			if !check.DegradesOnly {
				status = failing
			} else if status == healthy {
				status = degraded
			}
			results[i].Problem, results[i].Help = errs.KindOf(err).String(), check.Help
			var d dated
			if errors.As(err, &d) {
				results[i].Since = d.Since().Format(time.RFC3339)
			}
			var p public
			if errors.As(err, &p) {
				results[i].Detail = p.Public()
			}
		}
		switch {
		case err != nil && !h.failing[i]:
			h.log.WarnContext(ctx, "not ready", "check", check.Name, "error", err, "help", check.Help)
		case err == nil && h.failing[i]:
			h.log.InfoContext(ctx, "ready again", "check", check.Name)
		}
		h.failing[i] = err != nil
	}
	return results, status
}
