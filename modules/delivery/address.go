package delivery

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"millrace/platform/errs"
)

// address is where an order goes. It never leaves this module.
type address struct {
	Name     string
	Phone    string
	Postcode string
	Line1    string
	Line2    string
	City     string
	Country  string // ISO 3166-1 alpha-2
}

const homeCountry = "KR" // of an address that names none

var (
	phoneForm    = regexp.MustCompile(`^[0-9+() -]{5,30}$`)
	postcodeForm = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z -]{1,11}$`)
	koreanForm   = regexp.MustCompile(`^[0-9]{5}$`)
	countryForm  = regexp.MustCompile(`^[A-Z]{2}$`)
)

// tidy trims what people type and fills in the country.
func (a address) tidy() address {
	for _, field := range []*string{&a.Name, &a.Phone, &a.Postcode, &a.Line1, &a.Line2, &a.City, &a.Country} {
		*field = strings.TrimSpace(*field)
	}
	a.Country = cmp.Or(strings.ToUpper(a.Country), homeCountry)
	return a
}

// validate reports every field that is wrong, by the name that the caller uses.
func (a address) validate() error {
	var all []error
	text := func(field, value string, required bool, longest int) {
		switch {
		case value == "" && required:
			all = append(all, errs.InvalidField(field, "is required"))
		case utf8.RuneCountInString(value) > longest:
			all = append(all, errs.InvalidField(field, "is longer than %d characters", longest))
		case !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl):
			all = append(all, errs.InvalidField(field, "has characters that cannot be printed on a label"))
		}
	}
	text("name", a.Name, true, 100)
	text("line1", a.Line1, true, 200)
	text("line2", a.Line2, false, 200)
	text("city", a.City, false, 100)
	if !phoneForm.MatchString(a.Phone) {
		all = append(all, errs.InvalidField("phone", "is not 5 to 30 digits, spaces and +()-"))
	}
	switch {
	case !countryForm.MatchString(a.Country):
		all = append(all, errs.InvalidField("country", "is not a code of two letters (ISO 3166-1)"))
	case a.Country == homeCountry && !koreanForm.MatchString(a.Postcode):
		all = append(all, errs.InvalidField("postcode", "is not five digits"))
	case !postcodeForm.MatchString(a.Postcode):
		all = append(all, errs.InvalidField("postcode", "is not 2 to 12 letters, digits, spaces and hyphens"))
	}
	return errors.Join(all...)
}

// carrier is who carries a parcel.
type carrier string

// The carriers.
const (
	nobody    carrier = ""
	cj        carrier = "cj-logistics"
	koreaPost carrier = "korea-post"
	ems       carrier = "ems"
)

// trackingNumber is the carrier's number for the n-th parcel.
func (c carrier) trackingNumber(n int64) string {
	prefix := map[carrier]string{cj: "CJ", koreaPost: "KP", ems: "EM"}[c]
	return fmt.Sprintf("%s%012d", prefix, n)
}

// served is who carries where. The longest postcode that fits decides; a
// country without a row is served by nobody.
var served = []struct {
	country, postcode string // postcode is a prefix; "" is the whole country
	by                carrier
}{
	{"KR", "", cj},
	{"KR", "00000", nobody},  // not a place
	{"KR", "63", koreaPost},  // Jeju
	{"KR", "402", koreaPost}, // Ulleungdo
	{"KR", "40240", nobody},  // Dokdo
	{"JP", "", ems},
	{"US", "", ems},
	{"US", "96", nobody}, // the Pacific: Hawaii, Guam, forces abroad
}

// carrierFor returns who carries to a, or why nobody does. The reason goes into
// events, so it names the row of the table that decided, never the address.
func carrierFor(a address) (by carrier, reason string) {
	country, longest := "the country "+a.Country, -1
	area := country
	for _, row := range served {
		if row.country == a.Country && strings.HasPrefix(a.Postcode, row.postcode) && len(row.postcode) > longest {
			by, longest = row.by, len(row.postcode)
			area = cmp.Or(row.postcode, country)
		}
	}
	if by == nobody {
		return nobody, "no carrier serves " + area
	}
	return by, ""
}
