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

// Check is one thing that must hold for the program to be ready.
type Check struct {
	Name  string                          // as "database"
	Help  string                          // what to do when it does not hold
	Probe func(ctx context.Context) error // has two seconds; called concurrently
	// Tells says that requests can be served though it does not hold: the
	// answer tells it, as "degraded", and its code is 200 all the same.
	Tells bool
}

// dated is an error that knows since when it holds; the answer tells that, too.
type dated interface{ Since() time.Time }

const probeTimeout = 2 * time.Second

type checkResult struct {
	Name    string `json:"name"`
	OK      bool   `json:"ok"`
	Problem string `json:"problem,omitempty"` // the error's kind
	Since   string `json:"since,omitempty"`   // if the error knows
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

func answer(w http.ResponseWriter, status int, body healthAnswer) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the reader left: nobody to tell
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
	failing []bool // what each check said last, so that only a change is logged
}

// probe asks every check at the same time.
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
			if !check.Tells {
				status = failing
			} else if status == healthy {
				status = degraded
			}
			results[i].Problem, results[i].Help = errs.KindOf(err).String(), check.Help
			var d dated
			if errors.As(err, &d) {
				results[i].Since = d.Since().Format(time.RFC3339)
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
