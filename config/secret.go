package config

import (
	"log/slog"
	"net/url"
	"strings"
)

const redacted = "[redacted]"

// Secret is a value that must not be printed. Every ordinary way to print it
// shows that there is one, and not what it is.
type Secret string

// Reveal returns the value, for the one place that needs it.
func (s Secret) Reveal() string { return string(s) }

// String is for %v, %s and every other printer.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString is for %#v.
func (s Secret) GoString() string { return s.String() }

// LogValue is for slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText is for JSON and YAML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// redactURL keeps what helps to see where a URL leads, and drops the password
// and every parameter but the harmless ones named here.
func redactURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Opaque != "" || u.Scheme == "" && strings.ContainsAny(raw, "=@") { // host=… password=…
		return redacted
	}
	if u.User != nil {
		if _, has := u.User.Password(); has {
			u.User = url.UserPassword(u.User.Username(), "xxxxx")
		}
	}
	keep := url.Values{}
	for name, values := range u.Query() {
		switch name {
		case "sslmode", "host", "port", "dbname", "application_name", "connect_timeout":
			keep[name] = values
		default:
			keep[name] = []string{"xxxxx"}
		}
	}
	u.RawQuery, u.Fragment = keep.Encode(), ""
	return u.String()
}
