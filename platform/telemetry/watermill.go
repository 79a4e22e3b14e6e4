package telemetry

import (
	"context"
	"log/slog"
	"sort"
	"strings"

	"github.com/ThreeDotsLabs/watermill"
)

// harmless maps the Watermill fields that contain nothing of a message to our
// names. All other fields are replaced: Watermill logs whole messages when a
// publish fails, and SQL arguments at trace level.
var harmless = map[string]string{
	"message_uuid":            "message_id",
	"msg_uuid":                "message_id",
	"topic":                   "topic",
	"publish_topic":           "topic",
	"count":                   "count",
	"produced_messages_count": "count",
	"retry_no":                "retry",
	"max_retries":             "retries",
	"wait_time":               "wait",
	"timeout":                 "timeout",
	"rows_affected":           "rows",
	"err":                     "cause",
	"query_err":               "cause",
}

// Watermill returns a logger for Watermill's components. Their Info is our
// Debug: it reports the start and stop of each handler.
func Watermill(log *slog.Logger) watermill.LoggerAdapter { return adapter{log} }

type adapter struct{ log *slog.Logger }

func (a adapter) Error(msg string, err error, fields watermill.LogFields) {
	a.write(slog.LevelError, msg, fields, "error", err)
}
func (a adapter) Info(msg string, fields watermill.LogFields)  { a.write(slog.LevelDebug, msg, fields) }
func (a adapter) Debug(msg string, fields watermill.LogFields) { a.write(slog.LevelDebug, msg, fields) }
func (a adapter) Trace(msg string, fields watermill.LogFields) {
	a.write(watermill.LevelTrace, msg, fields)
}
func (a adapter) With(fields watermill.LogFields) watermill.LoggerAdapter {
	return adapter{a.log.With(attributes(fields)...)}
}

func (a adapter) write(level slog.Level, msg string, fields watermill.LogFields, more ...any) {
	ctx := context.Background() // Watermill passes no context
	if a.log.Enabled(ctx, level) {
		a.log.Log(ctx, level, msg, append(attributes(fields), more...)...) //nolint:sloglint // the words are Watermill's
	}
}

// attributes converts fields to attributes, sorted by name. A handler's name is
// "<module>/<type>".
func attributes(fields watermill.LogFields) []any {
	names := make([]string, 0, len(fields))
	for name := range fields {
		names = append(names, name)
	}
	sort.Strings(names)
	var all []any
	for _, name := range names {
		value := fields[name]
		switch ours, ok := harmless[name]; {
		case name == "handler_name" || name == "handlerName" || name == "subscriber_name":
			handler, _ := value.(string)
			module, _, _ := strings.Cut(handler, "/")
			all = append(all, "module", module, "subscriber", handler)
		case ok:
			all = append(all, ours, value)
		default:
			all = append(all, name, "[redacted]")
		}
	}
	return all
}
