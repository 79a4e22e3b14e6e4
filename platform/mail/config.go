package mail

import (
	"errors"
	"net"
	"net/mail"
	"strings"
	"time"

	"millrace/platform/errs"
)

// The values of Config.TLS.
const (
	TLSAuto      = ""          // mandatory, but for a server on loopback
	TLSMandatory = "mandatory" // always
	TLSPlaintext = "plaintext" // never: whoever is on the wire can read every mail
)

// Config says which server to use and as whom.
type Config struct {
	Host     string        // name or address of the SMTP server
	Port     int           // usually 587, 465 or 25
	User     string        // "" when the server wants no sign-in
	Password string        // secret
	From     string        // the sender, as "Millrace <no-reply@example.com>"
	TLS      string        // one of TLSAuto, TLSMandatory, TLSPlaintext
	Timeout  time.Duration // of one Send; 0 means 10 s
}

const (
	defaultTimeout = 10 * time.Second
	implicitTLS    = 465 // the port on which TLS comes first (RFC 8314)
)

// Validate reports every field that is wrong, by name.
func (c Config) Validate() error {
	var all []error
	if c.Host == "" {
		all = append(all, errs.InvalidField("host", "name the SMTP server"))
	}
	if c.Port < 1 || c.Port > 65535 {
		all = append(all, errs.InvalidField("port", "%d is not between 1 and 65535", c.Port))
	}
	if _, err := mail.ParseAddress(c.From); err != nil {
		all = append(all, errs.InvalidField("from", "%q is not a mail address", c.From))
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

func (c Config) loopback() bool {
	if c.Host == "localhost" {
		return true
	}
	ip := net.ParseIP(c.Host)
	return ip != nil && ip.IsLoopback()
}

func (c Config) encrypted() bool {
	return c.TLS == TLSMandatory || c.TLS == TLSAuto && !c.loopback()
}

// domain is the right side of the sender's address.
func (c Config) domain() string {
	from, err := mail.ParseAddress(c.From)
	if err != nil {
		return ""
	}
	_, domain, _ := strings.Cut(from.Address, "@")
	return domain
}
