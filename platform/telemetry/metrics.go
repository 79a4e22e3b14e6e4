package telemetry

import (
	"context"
	"log/slog"
	"math"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metric is one figure, read at each scrape.
type Metric struct {
	Name   string            // for example millrace_dead_letters; a total ends with _total
	Help   string            // what it counts, and the unit
	Labels map[string]string // WARNING: never from a message or a request
	Total  bool              // it only grows, from 0 at the start of the process
	Value  func(ctx context.Context) (float64, error)
}

// scrapeTimeout is the time limit for one metric's value.
const scrapeTimeout = 2 * time.Second

// ServeMetrics serves GET /metrics in Prometheus' text format: the metrics, and
// figures of the Go runtime and the process. A value that cannot be read is
// NaN. The reason is logged as a warning for the first metric that fails, and
// at debug level while any metric is failing.
func ServeMetrics(mux *http.ServeMux, log *slog.Logger, metrics ...Metric) error {
	registry := prometheus.NewRegistry()
	for _, c := range []prometheus.Collector{collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})} {
		if err := registry.Register(c); err != nil {
			return err
		}
	}
	missing := &missing{log: log, values: map[int]bool{}}
	for i, m := range metrics {
		value := func() float64 {
			ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
			defer cancel()
			n, err := m.Value(ctx)
			missing.note(i, m.Name, err)
			if err != nil {
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

// missing tracks the metrics whose last read failed.
type missing struct {
	log    *slog.Logger
	mu     sync.Mutex
	values map[int]bool
}

// note logs a failed metric. When the database is unavailable it logs one
// warning, instead of one for each metric and scrape.
func (m *missing) note(metric int, name string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := len(m.values)
	if err == nil {
		delete(m.values, metric)
		if before == 1 && len(m.values) == 0 {
			m.log.Info("all metrics have values again")
		}
		return
	}
	m.values[metric] = true
	level := slog.LevelDebug
	if before == 0 {
		level = slog.LevelWarn
	}
	m.log.Log(context.Background(), level, "a metric has no value", "metric", name, "error", err.Error())
}
