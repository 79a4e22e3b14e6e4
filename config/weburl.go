package config

import (
	"net/url"
	"strings"

	"millrace/platform/loopback"
)

// web rejects what is not an http or https URL. Its message quotes nothing of
// the URL, which may contain a key.
func (f *faults) web(setting, raw string) (u *url.URL, ok bool) {
	fault := func(what string) (*url.URL, bool) {
		f.add(setting, "%s", what)
		return nil, false
	}
	u, err := url.Parse(raw)
	switch {
	case strings.TrimSpace(raw) != raw:
		return fault("has blanks around it")
	case strings.ContainsAny(raw, " \t\r\n\"'<>"):
		return fault("has a blank or a quote in it: in a URL it is written %XX")
	case !strings.Contains(raw, "://"):
		return fault("has no scheme: write it with http:// or https:// before the host")
	case err != nil:
		return fault("is not an http or https address, as https://shop.example: check its port, and that special characters are written %XX")
	case u.Scheme != "http" && u.Scheme != "https":
		return fault("is not an http or https address, as https://shop.example")
	case u.Hostname() == "":
		return fault("names no host")
	case strings.HasSuffix(u.Host, ":"), u.Port() != "" && !isPort(u.Port(), 1):
		return fault("has a port that is no number from 1 to 65535: leave it out for that of the scheme, 80 or 443")
	case strings.ContainsFunc(u.Hostname(), func(r rune) bool { return r > 127 }):
		return fault("has a host with other than ASCII letters: write it in its xn-- form")
	case strings.Contains(raw, "#"):
		return fault("has a # in it: what follows is not sent to a server")
	}
	return u, true
}

// callback checks the URL where the gateway reaches this program.
func (f *faults) callback(c Config) {
	const setting = "payment.callback_url"
	if c.Payment.CallbackURL == "" {
		return
	}
	u, ok := f.web(setting, c.Payment.CallbackURL)
	switch {
	case !ok:
	case u.User != nil:
		f.add(setting, "contains a user, which the gateway would receive with every charge: leave it out, callbacks are signed")
	case strings.Trim(u.Path, "/") == "":
		f.add(setting, "has no path: callbacks are taken at /callbacks/gateway, as https://shop.example/callbacks/gateway")
	case strings.HasSuffix(u.Path, "/"):
		f.add(setting, "ends with a slash, and nothing answers there: callbacks are taken at /callbacks/gateway")
	case c.Simulator() && c.hosts("payment") && !loopback.Host(u.Hostname()):
		f.add(setting, "is not on this machine, and the simulator calls back here only: leave it empty, or set payment.gateway.url")
	}
}
