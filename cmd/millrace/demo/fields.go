package demo

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What the program accepts, told before the first request is made.
const (
	maxKey    = 64
	maxAmount = 999_999_999_999
	maxEmail  = 254
)

var (
	keyForm      = regexp.MustCompile(`^goods-[A-Za-z0-9-]+$`)
	userForm     = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)
	emailForm    = regexp.MustCompile(`^[a-zA-Z0-9.!#$%&'*+/=?^_{|}~-]{1,64}@[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$`)
	methodForm   = regexp.MustCompile(`^[A-Za-z_]{1,32}$`)
	phoneForm    = regexp.MustCompile(`^[0-9+() -]{5,30}$`)
	postcodeForm = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z -]{1,11}$`)
	koreanForm   = regexp.MustCompile(`^[0-9]{5}$`)
	countryForm  = regexp.MustCompile(`^[A-Z]{2}$`)
)

// currencies are those that payment takes: the active ones of ISO 4217.
var currencies = strings.Fields(`
	AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CLP CNY COP
	CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD
	IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR
	MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP
	SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VED VES VND VUV WST XAF XCD XCG
	XOF XPF YER ZAR ZMW ZWG`)

// fault is what is wrong with a field, in the words of whoever wrote the file.
type fault struct{ field, what string }

// orderOf reads one line, and reports all that is wrong with it.
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
	text := func(column string, required bool, longest int) string {
		value := field(column)
		switch {
		case value == "" && required:
			refuse(column, "is empty")
		case utf8.RuneCountInString(value) > longest:
			refuse(column, "is longer than %d characters", longest)
		case strings.ContainsFunc(value, unicode.IsControl):
			refuse(column, "has characters that cannot be printed on a label")
		}
		return value
	}
	o.Key = form("order_key", keyForm, maxKey, "goods- and letters, digits and hyphens, 64 at most in all")
	if kind := field("kind"); kind != "goods" {
		refuse("kind", "%s is not goods; deposits are paid by the consultations", shown(kind))
	}
	text("item", false, 200)
	o.UserID = form("user_id", userForm, 64, "1 to 64 letters, digits, '_', '.' and '-'")
	o.Email = form("email", emailForm, maxEmail, "a mail address")
	if o.Language = field("language"); o.Language != "ko" && o.Language != "en" {
		refuse("language", "%s is neither ko nor en", shown(o.Language))
	}
	amount, err := strconv.ParseInt(field("amount"), 10, 64)
	if o.Amount = amount; err != nil || amount < 1 || amount > maxAmount {
		refuse("amount", "%s is not a whole number from 1 to %d, in the currency's smallest unit (15000 is ₩15,000; 1500 is $15.00)", shown(field("amount")), int64(maxAmount))
	}
	if o.Currency = field("currency"); !slices.Contains(currencies, o.Currency) {
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
		Name: text("name", true, 100), Phone: form("phone", phoneForm, 30, "5 to 30 digits, spaces and +()-"),
		Line1: text("line1", true, 200), Line2: text("line2", false, 200), City: text("city", false, 100),
		Country: form("country", countryForm, 2, "a code of two capitals (ISO 3166-1), as KR"),
	}
	if o.Address.Country == "KR" {
		o.Address.Postcode = form("postcode", koreanForm, 5, "five digits")
	} else {
		o.Address.Postcode = form("postcode", postcodeForm, 12, "2 to 12 letters, digits, spaces and hyphens")
	}
	return o, wrong
}

// shown is a value as it is told: short, and harmless on a terminal.
func shown(value string) string {
	const longest = 40
	if runes := []rune(value); len(runes) > longest {
		value = string(runes[:longest]) + "…"
	}
	return strconv.Quote(value)
}
