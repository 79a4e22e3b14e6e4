package telemetry

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const evil = "\x1b[31m\u009b2J\u202e\r\x7f \\x1b[2J end"

// loggers returns a logger of each format: JSON, text, and text with colours.
func loggers(t *testing.T) map[string]func() (*slog.Logger, *strings.Builder) {
	t.Helper()
	return map[string]func() (*slog.Logger, *strings.Builder){
		"JSON": func() (*slog.Logger, *strings.Builder) {
			var out strings.Builder
			log, err := NewLogger(&out, "debug", "json")
			require.NoError(t, err)
			return log, &out
		},
		"Text": func() (*slog.Logger, *strings.Builder) {
			var out strings.Builder
			return slog.New(textHandler(&out, slog.LevelDebug, false)), &out
		},
		"Colours": func() (*slog.Logger, *strings.Builder) {
			var out strings.Builder
			return slog.New(textHandler(&out, slog.LevelDebug, true)), &out
		},
	}
}

func TestLog_EscapesTerminalControls(t *testing.T) {
	t.Parallel()
	for name, open := range loggers(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log, out := open()
			log.With("key", evil).Warn(evil+"\nWRN forged", "type", evil, "error", errors.New(evil), "list", []string{evil}, "any", struct{ A string }{evil},
				"bytes", []byte(evil), slog.Group("record", "topic", evil), "plain", `\x1b[2J`, "stringer", evilStringer{})
			printed := out.String()
			for _, colour := range []string{"\x1b[2m", "\x1b[22m", "\x1b[0m", "\x1b[93m", "\x1b[0;2m"} { // tint's own
				printed = strings.ReplaceAll(printed, colour, "")
			}
			require.False(t, strings.ContainsAny(printed, "\x1b\u009b\u202e\r\x7f"), "%q", printed)
			require.Equal(t, 1, strings.Count(printed, "\n"), "%q", printed)
			require.Contains(t, printed, "end")
		})
	}
}

type evilStringer struct{}

func (evilStringer) String() string { return evil }

func TestLog_MasksErrorsAndLibraryMessages(t *testing.T) {
	t.Parallel()
	for name, open := range loggers(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log, out := open()
			var at struct{ At time.Time }
			err := json.Unmarshal([]byte(`{"at":"kim@example.com"}`), &at)
			require.ErrorContains(t, err, "kim@example.com")
			log.Warn("http: panic serving kim@example.com", "error", err, "cause", err.Error(), "panic", fmt.Sprint(err),
				"message_id", "0195a3f0-0000-7000-8000-000000000001", "key", "goods-202611290017", "after", 2*time.Second)
			slog.NewLogLogger(log.Handler(), slog.LevelWarn).Print("http: TLS handshake error from kim@example.com")
			require.NotContains(t, out.String(), "example.com")
			for _, kept := range []string{"0195a3f0-0000-7000-8000-000000000001", "goods-202611290017", "2s", "TLS handshake error"} {
				require.Contains(t, out.String(), kept)
			}
		})
	}
}
