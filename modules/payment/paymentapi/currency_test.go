package paymentapi

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCurrency_WithdrawnIsKnownButNotActive(t *testing.T) {
	t.Parallel()
	for code := range withdrawn {
		require.False(t, Active(code), code)
		digits, known := Decimals(code)
		require.True(t, known, code)
		require.Equal(t, 2, digits)
	}
	require.Contains(t, withdrawn, "BGN")
}

func TestCurrency_KnowsActiveISO4217CodesOnly(t *testing.T) {
	t.Parallel()
	for code, digits := range map[string]int{"KRW": 0, "JPY": 0, "VND": 0, "USD": 2, "EUR": 2, "HUF": 2, "XCG": 2, "ZWG": 2, "SLE": 2, "VES": 2, "KWD": 3, "TND": 3} {
		got, known := Decimals(code)
		require.True(t, known && Active(code), code)
		require.Equal(t, digits, got, code)
	}
	for _, code := range []string{
		"HRK", "CUC", "SLL", "ZWL", "ANG", "LTL", "DEM", "BYR", "MRO", "STD", "VEF", // withdrawn
		"XAU", "XDR", "XTS", "XXX", "XAD", "CLF", "UYI", "USN", "CHE", // not used for payments
		"", "krw", "KR", "KRWX", "KR\u0057\u200b", "₩",
	} {
		_, known := Decimals(code)
		require.False(t, known || Active(code), code)
	}
	for code := range active {
		require.Regexp(t, `^[A-Z]{3}$`, code)
	}
}
