package text_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/platform/text"
)

func TestIsCountry_AcceptsOnlyPresentCountries(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"KR", "KP", "US", "GB", "TW", "HK", "AQ", "DE", "CD", "TL", "SS", "PS", "VA", "XK"} {
		require.True(t, text.IsCountry(code), code)
	}
	for _, code := range []string{"", "K", "kr", "KOR", "410", "UK", "ZZ", "XX", "AA", "QQ", "AN", "SU", "CS", "EU", "UN", "IC", "DD", "YU", "ZR", "TP", "001", "K R", "ＫＲ"} {
		require.False(t, text.IsCountry(code), code)
	}
}
