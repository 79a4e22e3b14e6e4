package telemetry

import (
	"context"
	"log/slog"
	"sort"
	"strings"

	"github.com/ThreeDotsLabs/watermill"
)

// harmless are Watermill's fields that hold no contents of messages, and what
// we call them. Whatever else it logs is replaced: it prints whole messages
// when a publish fails, and SQL arguments when it traces.
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

// Watermill makes the log that Watermill's parts write to. Its Info is our
// Debug: it is about starting and stopping each handler.
func Watermill(log *slog.Logger) watermill.LoggerAdapter { return adapter{log} }

type adapter struct{ log *slog.Logger }

func (a adapter) Error(msg string, err error, fields watermill.LogFields) {
	a.say(slog.LevelError, msg, fields, "error", err)
}
func (a adapter) Info(msg string, fields watermill.LogFields)  { a.say(slog.LevelDebug, msg, fields) }
func (a adapter) Debug(msg string, fields watermill.LogFields) { a.say(slog.LevelDebug, msg, fields) }
func (a adapter) Trace(msg string, fields watermill.LogFields) {
	a.say(watermill.LevelTrace, msg, fields)
}
func (a adapter) With(fields watermill.LogFields) watermill.LoggerAdapter {
	return adapter{a.log.With(attributes(fields)...)}
}

func (a adapter) say(level slog.Level, msg string, fields watermill.LogFields, more ...any) {
	ctx := context.Background() // Watermill has none to give
	if a.log.Enabled(ctx, level) {
		a.log.Log(ctx, level, msg, append(attributes(fields), more...)...) //nolint:sloglint // the words are Watermill's
	}
}

// attributes translates fields, in the order of their names. A handler's name
// is "<module>/<type>".
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
