package app

import (
	"context"
	"time"

	"millrace/platform/bus/kafkabridge"
	"millrace/platform/telemetry"
)

// metrics are the metrics for an operator's dashboards and alarms.
func (a *App) metrics() []telemetry.Metric {
	all := []telemetry.Metric{{
		Name: "millrace_database_up", Help: "1 if the database answers, 0 if not; what is counted there is NaN then.",
		Value: func(ctx context.Context) (up float64, _ error) {
			_ = a.probe.QueryRowContext(ctx, "SELECT 1").Scan(&up) // up stays 0; the other metrics log the error
			return up, nil
		},
	}, {
		Name: "millrace_http_requests_refused_total", Help: "Requests that were refused because too many were in work: see http.max_requests.", Total: true,
		Value: func(context.Context) (float64, error) { return float64(a.limits.Refused()), nil },
	}, {
		Name: "millrace_http_connections_closed_total", Help: "Connections that were closed because too many were open: see http.max_connections.", Total: true,
		Value: func(context.Context) (float64, error) { return float64(a.limits.Closed()), nil },
	}}
	for _, m := range a.hosted {
		db := a.transport.DB(m.Name())
		all = append(all, telemetry.Metric{
			Name: "millrace_dead_letters", Labels: map[string]string{"module": m.Name()},
			Help: "Messages that failed for good and wait for an operator: see millrace deadletters. What waits for a version that knows it is not among them.",
			Value: func(ctx context.Context) (n float64, err error) {
				return n, db.QueryRowContext(ctx, `SELECT count(*) FROM parked_messages WHERE state = 'dead'`).Scan(&n)
			},
		})
		all = append(all, m.Metrics()...)
	}
	if onKafka, ok := a.transport.(*kafkabridge.Transport); ok {
		all = append(all, kafkaMetrics(onKafka)...)
	}
	return all
}

func kafkaMetrics(t *kafkabridge.Transport) []telemetry.Metric {
	all := []telemetry.Metric{{
		Name: "millrace_kafka_stalled_seconds", Help: "How long messages have waited for the brokers or for a consumer; 0 if all flow.",
		Value: func(context.Context) (float64, error) {
			stalled, ok := t.Flowing().(interface{ Since() time.Time }) //nolint:errorlint // nothing wraps it
			if !ok {
				return 0, nil
			}
			return time.Since(stalled.Since()).Seconds(), nil
		},
	}}
	for _, total := range []struct {
		name, help string
		of         func(kafkabridge.Counts) int64
	}{
		{"sent", "Messages that the brokers acknowledged.", func(c kafkabridge.Counts) int64 { return c.Sent }},
		{"received", "Messages that were stored, repeats included.", func(c kafkabridge.Counts) int64 { return c.Received }},
		{"foreign", "Of these, messages that no module published.", func(c kafkabridge.Counts) int64 { return c.Foreign }},
		{"skipped", "Foreign records whose type does not belong to their topic.", func(c kafkabridge.Counts) int64 { return c.Skipped }},
		{"unreadable", "Foreign records without a type.", func(c kafkabridge.Counts) int64 { return c.Unreadable }},
		{"restarts", "Consumers that made no progress and were restarted.", func(c kafkabridge.Counts) int64 { return c.Restarts }},
		{"reread", "Records that were read outside the consumer group.", func(c kafkabridge.Counts) int64 { return c.Reread }},
		{"superseded", "Records that a restored publisher superseded, and that were dropped.", func(c kafkabridge.Counts) int64 { return c.Superseded }},
		{"gone", "Records that the brokers deleted before the database had them; a module's missing message is a dead letter.", func(c kafkabridge.Counts) int64 { return c.Gone }},
	} {
		all = append(all, telemetry.Metric{
			Name: "millrace_kafka_" + total.name + "_total", Help: total.help, Total: true,
			Value: func(context.Context) (float64, error) { return float64(total.of(t.Counts())), nil },
		})
	}
	return all
}
