package web

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"millrace/platform/errs"
	"millrace/platform/loopback"
)

// Hosts refuses requests for a host that is not this server's. A browser treats
// a foreign page whose name was made to resolve to this server (DNS rebinding)
// as the same site, so the name is checked, whatever address the server listens
// on. These hosts are allowed, with any port:
//
//   - those passed to [NewHosts];
//   - localhost, 127.0.0.0/8 and [::1];
//   - the IP address where the connection arrived, which no name can imitate.
//
// Another Host is answered with 421. An Origin with another host is answered
// with 403, which also works behind a reverse proxy that replaces Host. /livez
// and /readyz answer under any Host, because probes use various addresses;
// /metrics does not.
type Hosts struct {
	setting string
	names   map[string]bool
}

// NewHosts allows the names that [CheckHost] accepts; others never match.
// setting is the configuration setting that lists them; refusals name it.
func NewHosts(setting string, names ...string) *Hosts {
	h := &Hosts{setting: setting, names: map[string]bool{}}
	for _, name := range names {
		if host, ok := entry(name); ok {
			h.names[host] = true
		}
	}
	return h
}

// Guard checks the host before it calls next. Pass it to [Handler].
func (h *Hosts) Guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/livez" || r.URL.Path == "/readyz":
		case !h.allows(r, r.Host):
			writeProblem(w, r, http.StatusMisdirectedRequest, "this server does not answer to the host that the request names: "+
				"use one of its own, as localhost; the operator lists others in "+h.setting)
			return
		case !h.allowsOrigins(r):
			writeProblem(w, r, http.StatusForbidden, "a page of another site may not send this: its Origin is not a host of this server; "+
				"the operator lists others in "+h.setting)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// allows reports whether authority, a host or host:port, is this server's.
func (h *Hosts) allows(r *http.Request, authority string) bool {
	host, ok := hostOf(authority)
	if !ok {
		return false
	}
	if loopback.Host(host) || h.names[host] {
		return true
	}
	local, isTCP := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return isTCP && host == local.AddrPort().Addr().Unmap().WithZone("").String()
}

// allowsOrigins reports whether every Origin is a host of this server. "null"
// passes, because browsers also send it for forms of our own pages; the
// cross-site guard decides about it.
func (h *Hosts) allowsOrigins(r *http.Request) bool {
	for _, origin := range r.Header.Values("Origin") {
		if origin == "null" {
			continue
		}
		u, err := url.Parse(origin)
		if err != nil || u.User != nil || !h.allows(r, u.Host) {
			return false
		}
	}
	return true
}

// hostOf returns the host of "host" or "host:port" in its normal form: lower
// case, without a final dot, addresses as netip formats them, IPv6 without
// brackets. ok is false for anything else, such as user info, an empty port or
// an unusual form of an address.
func hostOf(authority string) (host string, ok bool) {
	var port string
	var hasPort bool
	if inner, isBracketed := strings.CutPrefix(authority, "["); isBracketed {
		var rest string
		if host, rest, ok = strings.Cut(inner, "]"); !ok {
			return "", false
		}
		if port, hasPort = strings.CutPrefix(rest, ":"); !hasPort && rest != "" {
			return "", false
		}
		address, err := netip.ParseAddr(host)
		if err != nil || !address.Is6() || address.Zone() != "" {
			return "", false
		}
		host = address.Unmap().String()
	} else {
		host, port, hasPort = strings.Cut(authority, ":")
		if host, ok = nameOf(host); !ok {
			return "", false
		}
	}
	return host, !hasPort || isPort(port)
}

func isPort(text string) bool {
	n, err := strconv.ParseUint(text, 10, 16)
	return err == nil && n > 0
}

// nameOf accepts an IPv4 address, or a DNS name of letters, digits, - and _
// whose last label is not a number, because some programs read 127.1 and 0x7f.1
// as addresses.
func nameOf(text string) (name string, ok bool) {
	if address, err := netip.ParseAddr(text); err == nil && address.Is4() {
		return address.String(), true
	}
	name = strings.TrimSuffix(strings.ToLower(text), ".")
	labels := strings.Split(name, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' || strings.ContainsFunc(label, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
		}) {
			return "", false
		}
	}
	last := labels[len(labels)-1]
	isNumber := strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x")
	return name, !isNumber && len(name) <= 253
}

// entry returns a configured host in the form of hostOf.
func entry(text string) (host string, ok bool) {
	if address, err := netip.ParseAddr(text); err == nil && address.Zone() == "" {
		return address.Unmap().String(), true
	}
	return nameOf(text)
}

// CheckHost returns an error, with the fix, for an invalid entry of the list of
// hosts. An entry is a name, such as shop.example, or an address, without
// scheme, port and path.
func CheckHost(text string) error {
	fault := func(what, fix string) error { return errs.New(errs.Invalid, "%q %s: %s", text, what, fix) }
	const example = "write the host alone, as shop.example"
	switch host, isName := entry(text); {
	case isName && (host == "0.0.0.0" || host == "::"):
		return fault("is every address of a machine, and no request names it", "list the names and addresses that clients use")
	case isName:
		return nil
	case strings.TrimSpace(text) == "":
		return fault("is empty", "leave it out, or "+example)
	case strings.ContainsAny(text, " \t\r\n"):
		return fault("has a blank in it", example)
	case strings.Contains(text, "://"):
		return fault("has a scheme", example)
	case strings.Contains(text, "/"):
		return fault("has a path", example)
	case strings.Contains(text, "@"):
		return fault("has a user", example)
	case strings.Contains(text, "*"):
		return fault("has a wildcard", "list each host by its whole name")
	case strings.ContainsFunc(text, func(r rune) bool { return r > 127 }):
		return fault("has other than ASCII letters", "write it in its xn-- form")
	case strings.HasPrefix(text, "["):
		return fault("has brackets", "write the address without them")
	case strings.Contains(text, ":"):
		return fault("has a port", "leave it out, every port of a listed host is allowed")
	}
	return fault("is not a host name or an address", example)
}
