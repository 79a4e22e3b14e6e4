package config

import (
	"log/slog"
	"net/url"
	"strings"
)

const redacted = "[redacted]"

// Secret is a value that must not be printed. Printing, logging or encoding it
// shows only whether it is set.
type Secret string

// Reveal returns the value, for the code that uses it.
func (s Secret) Reveal() string { return string(s) }

// String is used by %v, %s and most printers.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString is used by %#v.
func (s Secret) GoString() string { return s.String() }

// LogValue is used by slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText is used by JSON and YAML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// redactText returns a setting's text for people. Only secret settings should
// contain secrets, but any text may contain user:password@host by mistake.
func redactText(name, text string) string {
	before, address, named := strings.Cut(text, "=") // payment=http://…
	switch {
	case strings.HasSuffix(name, "url") && text != "":
		return redactURL(text)
	case named && strings.Contains(address, "://"):
		return before + "=" + redactURL(address)
	case strings.Contains(text, "://"):
		return redactURL(text)
	case strings.Contains(text, "@") && name != "mail.from":
		return redacted
	}
	return text
}

// redactURL keeps the destination of a URL and removes the user, the password
// and the values of parameters. It hides an ambiguous URL completely.
func redactURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Opaque != "" || u.Fragment != "" || strings.Contains(u.Path, "@") || u.Scheme == "" && strings.ContainsAny(raw, "=@") {
		return redacted
	}
	if u.User != nil {
		u.User = url.User("xxxxx") // some gateways expect their key before the colon
	}
	shown := url.Values{}
	for name, values := range u.Query() {
		switch {
		case strings.ContainsAny(name, "@:/"):
			return redacted // what was before it is part of a password
		case name == "sslmode":
			shown[name] = values
		default:
			shown.Set(name, "xxxxx")
		}
	}
	u.RawQuery, u.Fragment = shown.Encode(), ""
	return u.String()
}
