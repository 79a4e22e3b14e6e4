package telemetry

import (
	"context"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/lmittmann/tint"
	"golang.org/x/term"

	"millrace/platform/bus"
	"millrace/platform/errs"
)

// NewLogger makes the program's log. level is debug, info, warn or error;
// format is text, json, or auto: text if out is a terminal.
func NewLogger(out io.Writer, level, format string) (*slog.Logger, error) {
	var least slog.Level
	if err := least.UnmarshalText([]byte(level)); err != nil {
		return nil, errs.InvalidField("log.level", "%q is none of debug, info, warn, error", level)
	}
	file, isFile := out.(*os.File)
	terminal := isFile && term.IsTerminal(int(file.Fd()))
	switch format {
	case "text", "json":
	case "auto":
		format = "json"
		if terminal {
			format = "text"
		}
	default:
		return nil, errs.InvalidField("log.format", "%q is none of auto, text, json", format)
	}
	var handler slog.Handler = slog.NewJSONHandler(out, &slog.HandlerOptions{Level: least, ReplaceAttr: readable})
	if format == "text" {
		handler = tint.NewTextHandler(out, &tint.Options{Level: least, TimeFormat: "15:04:05.000", NoColor: !terminal || os.Getenv("NO_COLOR") != ""})
	}
	return slog.New(correlated{handler}), nil
}

// readable prints what has a name or a unit as such: JSON would show a number.
func readable(_ []string, a slog.Attr) slog.Attr {
	switch value := a.Value.Any().(type) {
	case time.Duration:
		a.Value = slog.StringValue(value.String())
	case errs.Kind:
		a.Value = slog.StringValue(value.String())
	}
	return a
}

const correlationID = "correlation_id"

// correlated adds the conversation that a context belongs to.
type correlated struct{ slog.Handler }

func (c correlated) Handle(ctx context.Context, r slog.Record) error {
	id := bus.CorrelationFrom(ctx)
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == correlationID {
			id = "" // said already
		}
		return id != ""
	})
	if id != "" {
		r = r.Clone()
		r.AddAttrs(slog.String(correlationID, id))
	}
	return c.Handler.Handle(ctx, r)
}

func (c correlated) WithAttrs(attrs []slog.Attr) slog.Handler {
	return correlated{c.Handler.WithAttrs(attrs)}
}
func (c correlated) WithGroup(name string) slog.Handler { return correlated{c.Handler.WithGroup(name)} }
