package delivery

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"millrace/platform/errs"
	"millrace/platform/text"
)

// address is the postal address of an order. It never leaves this module.
type address struct {
	Name     string
	Phone    string
	Postcode string
	Line1    string
	Line2    string
	City     string
	Country  string // ISO 3166-1 alpha-2
}

const homeCountry = "KR" // the default of an address without a country

var (
	phoneForm    = regexp.MustCompile(`^\+?[() -]*(?:[0-9][() -]*){5,20}$`)
	postcodeForm = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z -]{1,11}$`)
	koreanForm   = regexp.MustCompile(`^[0-9]{5}$`)
)

// tidy sets the default country. The caller has already normalized the texts.
func (a address) tidy() address {
	a.Country = cmp.Or(strings.ToUpper(a.Country), homeCountry)
	return a
}

// validate returns an error that names every invalid field as the API does.
func (a address) validate() error {
	var all []error
	line := func(field, value string, required bool, longest int) {
		stored, fault := text.Line(value)
		switch {
		case fault != "":
			all = append(all, errs.InvalidField(field, "%s", fault))
		case stored == "" && required:
			all = append(all, errs.InvalidField(field, "is required"))
		case text.Length(stored) > longest:
			all = append(all, errs.InvalidField(field, "is longer than %d characters", longest))
		}
	}
	line("name", a.Name, true, 100)
	line("line1", a.Line1, true, 200)
	line("line2", a.Line2, false, 200)
	line("city", a.City, false, 100)
	if !phoneForm.MatchString(a.Phone) || len(a.Phone) > 30 {
		all = append(all, errs.InvalidField("phone", "is no telephone number: 5 to 20 digits, perhaps a + before them, and spaces and ()- between them"))
	}
	switch {
	case !text.IsCountry(a.Country):
		all = append(all, errs.InvalidField("country", "is no country's code of two letters (ISO 3166-1), as KR or GB"))
	case a.Country == homeCountry && !koreanForm.MatchString(a.Postcode):
		all = append(all, errs.InvalidField("postcode", "is not five digits"))
	case !postcodeForm.MatchString(a.Postcode):
		all = append(all, errs.InvalidField("postcode", "is not 2 to 12 letters, digits, spaces and hyphens"))
	}
	return errors.Join(all...)
}

// carrier is a parcel service.
type carrier string

// The carriers.
const (
	nobody    carrier = ""
	cj        carrier = "cj-logistics"
	koreaPost carrier = "korea-post"
	ems       carrier = "ems"
)

// trackingNumber returns the tracking number for the carrier's n-th parcel.
func (c carrier) trackingNumber(n int64) string {
	prefix := map[carrier]string{cj: "CJ", koreaPost: "KP", ems: "EM"}[c]
	return fmt.Sprintf("%s%012d", prefix, n)
}

// served lists which carrier serves which area. The longest matching postcode
// prefix decides. A country without a row is not served.
var served = []struct {
	country, postcode string // postcode is a prefix; "" matches the whole country
	by                carrier
}{
	{"KR", "", cj},
	{"KR", "00000", nobody},  // no such place
	{"KR", "63", koreaPost},  // Jeju
	{"KR", "402", koreaPost}, // Ulleungdo
	{"KR", "40240", nobody},  // Dokdo
	{"JP", "", ems},
	{"US", "", ems},
	{"US", "96", nobody}, // Hawaii, Guam, military addresses in the Pacific
}

// carrierFor returns the carrier that serves an address, or the reason why none
// does. Events contain the reason, so it names the matching row of the table and
// not the address.
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
