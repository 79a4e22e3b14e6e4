package mail

import (
	"errors"
	"net"
	"net/mail"
	"net/netip"
	"strings"
	"time"

	"millrace/platform/errs"
	"millrace/platform/loopback"
	"millrace/platform/text"
)

// The values of Config.TLS.
const (
	TLSAuto      = ""          // mandatory, except for a server on loopback
	TLSMandatory = "mandatory" // always
	TLSPlaintext = "plaintext" // never. WARNING: anybody on the network path can read every mail
)

// Config configures the server to use and the sender.
type Config struct {
	Host     string        // name or address of the SMTP server
	Port     int           // usually 587, 465 or 25
	User     string        // "" if the server requires no sign-in
	Password string        // secret
	From     string        // the sender, such as "Millrace <no-reply@example.com>"
	TLS      string        // one of TLSAuto, TLSMandatory, TLSPlaintext
	Timeout  time.Duration // of one Send; 0 means 10 s
}

const (
	defaultTimeout = 10 * time.Second
	implicitTLS    = 465 // the port for implicit TLS (RFC 8314)
)

// Validate reports every invalid field by name.
func (c Config) Validate() error {
	var all []error
	if c.Host == "" {
		all = append(all, errs.InvalidField("host", "name the SMTP server"))
	}
	if c.Port < 1 || c.Port > 65535 {
		all = append(all, errs.InvalidField("port", "%d is not between 1 and 65535", c.Port))
	}
	if _, err := c.identity(); err != nil {
		all = append(all, err)
	}
	if (c.User == "") != (c.Password == "") {
		all = append(all, errs.InvalidField("user", "user and password go together"))
	}
	switch c.TLS {
	case TLSAuto, TLSMandatory, TLSPlaintext:
	default:
		all = append(all, errs.InvalidField("tls", "%q is none of \"\", %q, %q", c.TLS, TLSMandatory, TLSPlaintext))
	}
	if c.Timeout < 0 {
		all = append(all, errs.InvalidField("timeout", "%s is negative", c.Timeout))
	}
	return errors.Join(all...)
}

func (c Config) encrypted() bool {
	return c.TLS == TLSMandatory || c.TLS == TLSAuto && !loopback.Host(c.Host)
}

// identity is the sender's identity in mails and in EHLO.
type identity struct {
	name    string // for the From header; may be ""
	address string // for the From header and the envelope, without angle brackets
	domain  string // domain of the address, for Message-IDs
	named   bool   // whether servers accept domain in EHLO
}

// localDomain is appended to the name of a local host to check it as a domain.
const localDomain = ".internal"

// identity parses From: a name that is a single line of text (package text),
// and an address that follows the rule for all addresses ([ParseAddress]).
// Non-ASCII domains become A-labels. Local host names, such as localhost, are
// kept.
func (c Config) identity() (identity, error) {
	parsed, err := mail.ParseAddress(c.From)
	if err != nil {
		return identity{}, errs.InvalidField("from", "%q is not a mail address, as Shop <shop@example.com>", c.From)
	}
	name, fault := text.Line(parsed.Name)
	if fault != "" {
		return identity{}, errs.InvalidField("from", "the name in %q %s", c.From, fault)
	}
	given := parsed.Address
	isLocal := !strings.Contains(given[strings.LastIndexByte(given, '@'):], ".")
	if isLocal {
		given += localDomain
	}
	address, err := ParseAddress(given)
	if err != nil {
		return identity{}, errs.InvalidField("from", "the address in %q %v", c.From, err)
	}
	plain, domain := address.String(), address.Domain()
	if isLocal {
		plain, domain = strings.TrimSuffix(plain, localDomain), strings.TrimSuffix(domain, localDomain)
	}
	return identity{name, plain, domain, !isLocal}, nil
}

// hello returns our name for EHLO: the sender's domain, or the address literal
// of our end of the connection (RFC 5321, section 4.1.4).
func (i identity) hello(conn net.Conn) string {
	if i.named {
		return i.domain
	}
	local, err := netip.ParseAddrPort(conn.LocalAddr().String())
	if err != nil {
		return "[127.0.0.1]" // impossible: a TCP connection has an address
	}
	ip := local.Addr().Unmap().WithZone("")
	if ip.Is4() {
		return "[" + ip.String() + "]"
	}
	return "[IPv6:" + ip.String() + "]"
}
