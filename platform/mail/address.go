package mail

import (
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"

	"millrace/platform/errs"
)

// Address is a mail address that SMTP can transmit. ParseAddress creates it.
type Address struct{ local, domain string }

// Limits of RFC 5321, section 4.5.3.1, in bytes as transmitted.
const (
	longestLocal   = 64
	longestAddress = 254 // the path's limit of 256 without its angle brackets
)

// ParseAddress parses one address as people type it. It is the only rule for
// addresses: every address that it accepts fits in an envelope, and Send
// accepts no others.
//
// The result is the form that is stored and sent: without surrounding blanks,
// the domain in lower case and as A-labels (bücher.example becomes
// xn--bcher-kva.example), the local part unchanged.
//
// It rejects, although standards allow some of it:
//   - a dot at the start or end of the local part, or two in a row. Japanese
//     carriers issued such addresses until 2009. They can only be written as a
//     quoted string ("a..b"@docomo.ne.jp), which RFC 5321, section 4.1.2,
//     advises against and which relays refuse with 501 5.1.3 or rewrite, so
//     delivery would depend on the relay.
//   - letters outside ASCII in the local part. They need SMTPUTF8 (RFC 6531) on
//     every server on the way, which few support, so delivery cannot be known
//     in advance.
//   - quoted local parts, comments, names (Kim <kim@example.com>), lists.
//   - IP addresses and names without a dot instead of a domain.
//
// Errors are Invalid. They name the part and the fault, and never quote the
// address.
func ParseAddress(text string) (Address, error) {
	text = strings.TrimSpace(text)
	if err := checkWhole(text); err != nil {
		return Address{}, err
	}
	local, domain, _ := strings.Cut(text, "@")
	if err := checkLocal(local); err != nil {
		return Address{}, err
	}
	domain, err := asciiDomain(domain)
	if err != nil {
		return Address{}, err
	}
	a := Address{local, domain}
	if len(a.String()) > longestAddress {
		return Address{}, refuse("is longer than %d bytes", longestAddress)
	}
	return a, nil
}

// String returns the address as it is stored and sent.
func (a Address) String() string { return a.local + "@" + a.domain }

// Domain returns the part after the @, as A-labels.
func (a Address) Domain() string { return a.domain }

func refuse(format string, args ...any) error { return errs.New(errs.Invalid, format, args...) }

// checkWhole rejects text that is not a single plain address, before it is
// split into parts.
func checkWhole(text string) error {
	switch {
	case text == "":
		return refuse("is empty: give an address with a name, an at sign and a domain")
	case !utf8.ValidString(text):
		return refuse("is not UTF-8 text")
	case strings.ContainsFunc(text, unicode.IsControl):
		return refuse("has a line break or another control character")
	case strings.ContainsFunc(text, func(r rune) bool { return unicode.Is(unicode.Cf, r) }):
		return refuse("has an invisible character: type it again instead of pasting it")
	case strings.ContainsRune(text, '＠'):
		return refuse("has a full-width at sign: type it in half width")
	case len(text) > 7 && strings.EqualFold(text[:7], "mailto:"):
		return refuse("starts with mailto: give the address alone")
	case strings.Count(text, "@") == 0:
		return refuse("has no at sign: give an address with a name, an at sign and a domain")
	case strings.ContainsAny(text, "<>"):
		return refuse("has a name or brackets: give the address alone")
	case strings.HasPrefix(text, `"`):
		return refuse("has a quoted part before the at sign, which many servers refuse: give another address")
	case strings.Count(text, "@") > 1:
		return refuse("has more than one at sign: give one address alone")
	case strings.ContainsFunc(text, unicode.IsSpace):
		return refuse("has a blank in it")
	}
	return nil
}

// checkLocal checks that the part before the @ is a Dot-string of RFC 5321.
func checkLocal(local string) error {
	switch {
	case local == "":
		return refuse("has nothing before the at sign")
	case len(local) > longestLocal:
		return refuse("has more than %d bytes before the at sign", longestLocal)
	case strings.HasPrefix(local, "."):
		return refuse("starts with a dot, which servers refuse: give another address")
	case strings.HasSuffix(local, "."):
		return refuse("has a dot before the at sign, which servers refuse: give another address")
	case strings.Contains(local, ".."):
		return refuse("has two dots in a row before the at sign, which servers refuse: give another address")
	case strings.ContainsFunc(local, func(r rune) bool { return r >= utf8.RuneSelf }):
		return refuse("has letters other than a-z before the at sign, which many servers refuse: give another address")
	}
	for _, r := range local {
		plain := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(".!#$%&'*+-/=?^_`{|}~", r)
		if !plain {
			return refuse("has %q before the at sign, which no address may have", r)
		}
	}
	return nil
}

// domains converts U-labels as browsers do (UTS 46). It does not check hyphens,
// because real domains have two in the third and fourth place; asciiDomain
// checks the others.
var domains = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.CheckHyphens(false), idna.StrictDomainName(true), idna.VerifyDNSLength(true), idna.Transitional(false))

// asciiDomain returns the domain in lower case, as A-labels.
func asciiDomain(domain string) (string, error) {
	switch {
	case domain == "":
		return "", refuse("has nothing after the at sign")
	case strings.HasPrefix(domain, "["):
		return "", refuse("has an IP address after the at sign: give one with a domain name")
	case strings.HasPrefix(domain, "."):
		return "", refuse("has a dot after the at sign")
	case strings.HasSuffix(domain, ".") || strings.HasSuffix(domain, "。"):
		return "", refuse("ends with a dot")
	case strings.Contains(domain, ".."):
		return "", refuse("has two dots in a row after the at sign")
	case strings.Contains(domain, "_"):
		return "", refuse("has a _ after the at sign, which no domain may have")
	}
	if _, err := netip.ParseAddr(domain); err == nil {
		return "", refuse("has an IP address after the at sign: give one with a domain name")
	}
	ascii, err := domains.ToASCII(domain)
	if err != nil {
		return "", refuse("has a domain after the at sign that cannot exist: letters, digits and hyphens, 63 at most between two dots")
	}
	labels := strings.Split(ascii, ".")
	for _, label := range labels {
		if strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-") {
			return "", refuse("has a hyphen at the start or end of a part of its domain")
		}
	}
	last := labels[len(labels)-1]
	switch {
	case len(labels) < 2:
		return "", refuse("has no dot after the at sign: give the whole domain name")
	case strings.Trim(last, "0123456789") == "":
		return "", refuse("has a domain that ends with a number")
	case len(last) < 2:
		return "", refuse("has a domain that ends with a single letter: give the whole domain name")
	}
	return ascii, nil
}
