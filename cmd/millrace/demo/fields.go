package demo

import (
	"fmt"
	"regexp"
	"strconv"

	"millrace/modules/payment/paymentapi"
	"millrace/platform/mail"
	"millrace/platform/text"
)

// Limits of the API, checked before the first request.
const (
	maxKey    = 64
	maxAmount = 999_999_999_999
)

var (
	keyForm      = regexp.MustCompile(`^goods-[A-Za-z0-9-]+$`)
	methodForm   = regexp.MustCompile(`^[A-Za-z_]{1,32}$`)
	phoneForm    = regexp.MustCompile(`^\+?[() -]*(?:[0-9][() -]*){5,20}$`)
	postcodeForm = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z -]{1,11}$`)
	koreanForm   = regexp.MustCompile(`^[0-9]{5}$`)
)

// fault is what is wrong with a field; field is the name of its column.
type fault struct{ field, what string }

// orderOf parses one line, and returns everything that is wrong with it.
func orderOf(field func(column string) string) (o order, wrong []fault) {
	refuse := func(column, format string, args ...any) {
		wrong = append(wrong, fault{column, fmt.Sprintf(format, args...)})
	}
	form := func(column string, is *regexp.Regexp, longest int, want string) string {
		value := field(column)
		if !is.MatchString(value) || len(value) > longest {
			refuse(column, "%s is not %s", shown(value), want)
		}
		return value
	}
	line := func(column string, required bool, longest int) string {
		value, wrong := text.Line(field(column))
		switch {
		case wrong != "":
			refuse(column, "%s", wrong)
		case value == "" && required:
			refuse(column, "is empty")
		case text.Length(value) > longest:
			refuse(column, "is longer than %d characters", longest)
		}
		return value
	}
	o.Key = form("order_key", keyForm, maxKey, "goods- and letters, digits and hyphens, 64 at most in all")
	if kind := field("kind"); kind != "goods" {
		refuse("kind", "%s is not goods; deposits are paid by the consultations", shown(kind))
	}
	line("item", false, 200)
	o.UserID = field("user_id")
	if what := paymentapi.UserIDFault(o.UserID); what != "" {
		refuse("user_id", "%s %s", shown(o.UserID), what)
	}
	if address, err := mail.ParseAddress(field("email")); err != nil {
		refuse("email", "%s %v", shown(field("email")), err)
	} else {
		o.Email = address.String()
	}
	if o.Language = field("language"); o.Language != "ko" && o.Language != "en" {
		refuse("language", "%s is neither ko nor en", shown(o.Language))
	}
	amount, err := strconv.ParseInt(field("amount"), 10, 64)
	if o.Amount = amount; err != nil || amount < 1 || amount > maxAmount {
		refuse("amount", "%s is not a whole number from 1 to %d, in the currency's smallest unit (15000 is ₩15,000; 1500 is $15.00)", shown(field("amount")), int64(maxAmount))
	}
	if o.Currency = field("currency"); !paymentapi.Active(o.Currency) {
		refuse("currency", "%s is not an active ISO 4217 code, as KRW or USD", shown(o.Currency))
	}
	o.Method = form("method", methodForm, 32, "1 to 32 letters or '_', as card or bank_transfer")
	switch when := field("address"); when {
	case "before":
	case "after":
		o.AddressAfter = true
	default:
		refuse("address", "%s is neither before nor after: whether the address is known before the order is paid", shown(when))
	}
	o.Address = postal{
		Name: line("name", true, 100), Phone: form("phone", phoneForm, 30, "5 to 20 digits, perhaps a + before them, and spaces and ()- between them"),
		Line1: line("line1", true, 200), Line2: line("line2", false, 200), City: line("city", false, 100),
		Country: field("country"),
	}
	if !text.IsCountry(o.Address.Country) {
		refuse("country", "%s is not a country's code of two capitals (ISO 3166-1), as KR", shown(o.Address.Country))
	}
	if o.Address.Country == "KR" {
		o.Address.Postcode = form("postcode", koreanForm, 5, "five digits")
	} else {
		o.Address.Postcode = form("postcode", postcodeForm, 12, "2 to 12 letters, digits, spaces and hyphens")
	}
	return o, wrong
}

// shown is a value for an error message: shortened, and without control characters.
func shown(value string) string {
	return strconv.Quote(text.Cut(value, 40))
}
