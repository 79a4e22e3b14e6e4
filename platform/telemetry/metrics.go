package telemetry

import (
	"context"
	"log/slog"
	"math"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metric is one figure that is read when somebody asks for the metrics.
type Metric struct {
	Name   string            // as millrace_dead_letters; a total ends with _total
	Help   string            // what it counts, in which unit
	Labels map[string]string // never what came from a message or a request
	Total  bool              // it only grows, from 0 at the start of the process
	Value  func(ctx context.Context) (float64, error)
}

// scrapeTimeout bounds one metric's value.
const scrapeTimeout = 2 * time.Second

// ServeMetrics serves GET /metrics in Prometheus' text format: the metrics, and
// what Go and the operating system tell of the process. A value that cannot be
// had is NaN, and the reason is logged at debug level.
func ServeMetrics(mux *http.ServeMux, log *slog.Logger, metrics ...Metric) error {
	registry := prometheus.NewRegistry()
	for _, c := range []prometheus.Collector{collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})} {
		if err := registry.Register(c); err != nil {
			return err
		}
	}
	for _, m := range metrics {
		value := func() float64 {
			ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
			defer cancel()
			n, err := m.Value(ctx)
			if err != nil {
				log.Debug("a metric has no value", "metric", m.Name, "error", err.Error())
				return math.NaN()
			}
			return n
		}
		var c prometheus.Collector = prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: m.Name, Help: m.Help, ConstLabels: m.Labels}, value)
		if m.Total {
			c = prometheus.NewCounterFunc(prometheus.CounterOpts{Name: m.Name, Help: m.Help, ConstLabels: m.Labels}, value)
		}
		if err := registry.Register(c); err != nil {
			return err
		}
	}
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn)}))
	return nil
}
