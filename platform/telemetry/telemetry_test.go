package telemetry_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/stretchr/testify/require"

	"millrace/platform/correlation"
	"millrace/platform/errs"
	"millrace/platform/telemetry"
)

func TestWatermill_LogsHarmlessFieldsOnly(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	log, err := telemetry.NewLogger(&out, "debug", "json")
	require.NoError(t, err)
	w := telemetry.Watermill(log).With(watermill.LogFields{"subscriber_name": "delivery/payment.completed", "payload": "canary"})
	w.Error("Cannot publish", errors.New("refused"), watermill.LogFields{"message_uuid": "id-1", "not_sent_message": "canary", "query_args": []any{"canary"}})
	w.Info("i", watermill.LogFields{"metadata": "canary"})
	w.Debug("d", nil)
	w.Trace("t", watermill.LogFields{"query_args": "canary"})
	require.NotContains(t, out.String(), "canary")
	first, _, _ := strings.Cut(out.String(), "\n")
	var line map[string]any
	require.NoError(t, json.Unmarshal([]byte(first), &line))
	require.Equal(t, "delivery", line["module"])
	require.Equal(t, "delivery/payment.completed", line["subscriber"])
	require.Equal(t, "id-1", line["message_id"])
	require.Equal(t, "refused", line["error"])
}

func TestLog_AddsCorrelationIDOfContext(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	log, err := telemetry.NewLogger(&out, "info", "json")
	require.NoError(t, err)
	ctx := correlation.With(t.Context(), "c-1")
	log.With("a", 1).InfoContext(ctx, "one")
	log.InfoContext(ctx, "two", "correlation_id", "own")
	require.Equal(t, 1, strings.Count(out.String(), `"correlation_id":"c-1"`))
	require.Equal(t, 2, strings.Count(out.String(), `"correlation_id"`))
}

func TestLog_AutoFormatIsJSONOutsideATerminal(t *testing.T) {
	t.Parallel()
	var auto, text strings.Builder
	log, err := telemetry.NewLogger(&auto, "info", "auto")
	require.NoError(t, err)
	log.Info("hello", "wait", 2*time.Second, "kind", errs.Timeout)
	require.True(t, json.Valid([]byte(auto.String())))
	require.Contains(t, auto.String(), `"wait":"2s","kind":"timeout"`)
	log, err = telemetry.NewLogger(&text, "warn", "text")
	require.NoError(t, err)
	log.Info("below the level")
	log.Warn("hello")
	require.Contains(t, text.String(), "WRN hello")
	require.NotContains(t, text.String(), "below")

	_, err = telemetry.NewLogger(&text, "loud", "text")
	require.ErrorContains(t, err, "log.level")
	_, err = telemetry.NewLogger(&text, "info", "xml")
	require.ErrorContains(t, err, "log.format")
}

// still is an error that knows when it began.
type still struct{ error }

func (still) Since() time.Time { return time.Date(2026, 11, 23, 1, 2, 3, 0, time.UTC) }
func (s still) Unwrap() error  { return s.error }

func TestReadyz_NamesFailedChecksAndHelp(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	log, err := telemetry.NewLogger(&out, "info", "json")
	require.NoError(t, err)
	var problem error
	mux := http.NewServeMux()
	telemetry.ServeHealth(mux, log,
		telemetry.Check{Name: "database", Help: "start PostgreSQL", Probe: func(context.Context) error { return problem }},
		telemetry.Check{Name: "router", Help: "restart", Probe: func(context.Context) error { return nil }},
	)
	get := func(path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		require.Equal(t, "application/json", w.Header().Get("Content-Type"))
		return w
	}
	ready := `{"status":"ok","checks":[{"name":"database","ok":true},{"name":"router","ok":true}]}`
	require.JSONEq(t, ready, get("/readyz").Body.String())

	problem = errs.New(errs.Resource, "dial canary: refused")
	for range 3 {
		w := get("/readyz")
		require.Equal(t, http.StatusServiceUnavailable, w.Code)
		require.JSONEq(t, `{"status":"failing","checks":[{"name":"database","ok":false,"problem":"resource","help":"start PostgreSQL"},{"name":"router","ok":true}]}`, w.Body.String())
	}
	require.Equal(t, 1, strings.Count(out.String(), "canary"), "only changes are logged")
	require.Equal(t, http.StatusOK, get("/livez").Code, "a program that waits for its database is alive")

	problem = still{problem}
	require.JSONEq(t, `{"status":"failing","checks":[{"name":"database","ok":false,"problem":"resource","since":"2026-11-23T01:02:03Z","help":"start PostgreSQL"},{"name":"router","ok":true}]}`, get("/readyz").Body.String())

	problem = nil
	require.JSONEq(t, ready, get("/readyz").Body.String())
	require.Contains(t, out.String(), "ready again")
}

func TestMetrics_UnreadableValueIsNaN(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	log, err := telemetry.NewLogger(&out, "debug", "json")
	require.NoError(t, err)
	mux, failing := http.NewServeMux(), false
	require.NoError(t, telemetry.ServeMetrics(mux, log,
		telemetry.Metric{Name: "millrace_waiting", Labels: map[string]string{"module": "payment"}, Help: "Waits.", Value: func(context.Context) (float64, error) {
			if failing {
				return 7, errs.New(errs.Resource, "the database is away")
			}
			return 7, nil
		}},
		telemetry.Metric{Name: "millrace_sent_total", Help: "Sent.", Total: true, Value: func(context.Context) (float64, error) { return 40, nil }},
	))
	get := func() string {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		require.Equal(t, http.StatusOK, w.Code)
		return w.Body.String()
	}
	figures := get()
	require.Contains(t, figures, "# TYPE millrace_waiting gauge\nmillrace_waiting{module=\"payment\"} 7\n")
	require.Contains(t, figures, "# TYPE millrace_sent_total counter\nmillrace_sent_total 40\n")
	require.Contains(t, figures, "go_goroutines ")
	failing = true
	require.Contains(t, get(), "millrace_waiting{module=\"payment\"} NaN\n")
	require.Contains(t, get(), "millrace_waiting{module=\"payment\"} NaN\n")
	require.Equal(t, 2, strings.Count(out.String(), "the database is away"))
	require.Equal(t, 1, strings.Count(out.String(), `"level":"WARN"`), "one warning for all metrics: %s", out.String())
	failing = false
	get()
	failing = true
	get()
	require.Equal(t, 2, strings.Count(out.String(), `"level":"WARN"`), "one line when it starts again")

	twice := telemetry.Metric{Name: "millrace_twice"}
	require.Error(t, telemetry.ServeMetrics(http.NewServeMux(), log, twice, twice))
}
