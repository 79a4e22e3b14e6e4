package notification

import (
	"strconv"
	"strings"

	"millrace/platform/errs"
)

// decimals are the currencies of ISO 4217 whose minor unit is not a hundredth.
var decimals = map[string]int{
	"BIF": 0, "CLP": 0, "DJF": 0, "GNF": 0, "ISK": 0, "JPY": 0, "KMF": 0, "KRW": 0, "PYG": 0,
	"RWF": 0, "UGX": 0, "UYI": 0, "VND": 0, "VUV": 0, "XAF": 0, "XOF": 0, "XPF": 0,
	"BHD": 3, "IQD": 3, "JOD": 3, "KWD": 3, "LYD": 3, "OMR": 3, "TND": 3,
}

// money writes an amount of minor units as people of the language read it:
// 15000 KRW is "15,000원" or "KRW 15,000", 1500 USD is "USD 15.00".
func money(lang language, amount, currency string) (string, error) {
	n, err := strconv.ParseInt(amount, 10, 64)
	if err != nil {
		return "", errs.InvalidField("params."+paramAmount, "%q is not a whole number", amount)
	}
	places, special := decimals[currency]
	if !special {
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
	return currency + " " + text, nil
}
