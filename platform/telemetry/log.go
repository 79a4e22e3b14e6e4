package telemetry

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/lmittmann/tint"
	"golang.org/x/term"

	"millrace/platform/correlation"
	"millrace/platform/errs"
	"millrace/platform/redact"
	"millrace/platform/text"
)

// NewLogger creates the program's logger. level is debug, info, warn or error;
// format is text, json, or auto, which means text if out is a terminal and else
// JSON.
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
	if format == "text" {
		return slog.New(correlated{textHandler(out, least, terminal && os.Getenv("NO_COLOR") == "")}), nil
	}
	return slog.New(correlated{slog.NewJSONHandler(visibleJSON{out}, &slog.HandlerOptions{Level: least, ReplaceAttr: maskAttr})}), nil
}

func textHandler(out io.Writer, least slog.Level, colours bool) slog.Handler {
	return tint.NewTextHandler(out, &tint.Options{Level: least, TimeFormat: "15:04:05.000", NoColor: !colours, ReplaceAttr: escapeAttr})
}

// free are the attributes that may contain text from outside: an error may
// quote a payload, and a library's message a request.
var free = []string{"error", "cause", "panic", "detail", "help", slog.MessageKey}

// maskAttr masks personal data and secrets (see package redact), and writes
// values with a String method or a unit as text, where JSON would show a
// number.
func maskAttr(_ []string, a slog.Attr) slog.Attr {
	switch value := a.Value.Any().(type) {
	case time.Duration:
		a.Value = slog.StringValue(value.String())
	case errs.Kind:
		a.Value = slog.StringValue(value.String())
	case error:
		a.Value = slog.StringValue(redact.Error(value))
	case string:
		if slices.Contains(free, a.Key) {
			a.Value = slog.StringValue(redact.Text(value))
		}
	}
	return a
}

// escapeAttr does the same for a terminal and escapes control characters, so
// that a value cannot control the terminal. It writes \u001b instead of \x1b,
// because tint takes \x1b for a colour and turns it back into an escape.
func escapeAttr(groups []string, a slog.Attr) slog.Attr {
	a = maskAttr(groups, a)
	show := text.VisibleLines // for values, which tint quotes
	switch value := a.Value.Any().(type) {
	case slog.Level, time.Time, bool, int64, uint64, float64:
		return a
	case string:
		if len(groups) == 0 && a.Key == slog.MessageKey { // the message, which tint does not quote
			show = text.Visible
		}
		a.Value = slog.StringValue(strings.ReplaceAll(show(value), `\x1b`, `\u001b`))
	default:
		a.Value = slog.StringValue(strings.ReplaceAll(show(fmt.Sprintf("%+v", value)), `\x1b`, `\u001b`))
	}
	return a
}

// visibleJSON escapes the control characters that encoding/json does not.
type visibleJSON struct{ to io.Writer }

func (v visibleJSON) Write(line []byte) (int, error) {
	if _, err := v.to.Write(text.VisibleJSON(line)); err != nil {
		return 0, err
	}
	return len(line), nil
}

const correlationID = "correlation_id"

// correlated adds the correlation ID of the context to each line.
type correlated struct{ slog.Handler }

func (c correlated) Handle(ctx context.Context, r slog.Record) error {
	id := correlation.From(ctx)
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == correlationID {
			id = "" // already among the attributes
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
