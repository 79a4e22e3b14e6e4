package text

import (
	"slices"
	"strings"

	"golang.org/x/text/language"
)

// IsCountry reports whether code is the code of a present country, in two
// capitals (ISO 3166-1 alpha-2, and XK). UK (for GB), codes of former countries
// and codes for private use are not.
func IsCountry(code string) bool {
	region, err := language.ParseRegion(code)
	return err == nil && len(code) == 2 && region.String() == code && region.IsCountry() && region.Canonicalize() == region && !slices.Contains(former, code)
}

// former are codes that CLDR accepts and ISO 3166-1 does not: former countries,
// and reserved codes for parts of countries.
var former = strings.Fields("AN CS NT PC SU YU FQ AC CP CQ DG EA EZ IC TA UN")
