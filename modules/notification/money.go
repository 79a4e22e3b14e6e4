package notification

import (
	"strconv"
	"strings"

	"millrace/modules/payment/paymentapi"
	"millrace/platform/errs"
)

// symbols are the currency signs that are unambiguous in both languages.
var symbols = map[string]string{"KRW": "₩", "USD": "$", "EUR": "€", "GBP": "£"}

// money formats an amount of minor units: 15000 KRW is "15,000원" or "₩15,000",
// 1500 USD is "$15.00", 1500 EUR is "€15.00". Other currencies show their code
// ("JPY 1,500"), because ¥ stands for two currencies.
func money(lang language, amount, currency string) (string, error) {
	n, err := strconv.ParseInt(amount, 10, 64)
	if err != nil {
		return "", errs.InvalidField("params."+paramAmount, "%q is not a whole number", amount)
	}
	places, known := paymentapi.Decimals(currency)
	if !known {
		places = 2
	}
	sign := ""
	digits := strconv.FormatInt(n, 10)
	if n < 0 {
		sign, digits = "-", digits[1:]
	}
	if missing := places + 1 - len(digits); missing > 0 {
		digits = strings.Repeat("0", missing) + digits
	}
	whole, fraction := digits[:len(digits)-places], digits[len(digits)-places:]
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	text := sign + whole
	if places > 0 {
		text += "." + fraction
	}
	if lang == korean && currency == "KRW" {
		return text + "원", nil
	}
	if symbol, ok := symbols[currency]; ok {
		return sign + symbol + strings.TrimPrefix(text, "-"), nil
	}
	return currency + " " + text, nil
}
