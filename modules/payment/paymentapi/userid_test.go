package paymentapi

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestUserIDFault_AcceptsCommonIDs(t *testing.T) {
	t.Parallel()
	for _, id := range []string{
		"1", "42", "1001", "1000123", "user-9", "kim_minjun", "kim.minjun", "a..b", "KIM", "-", "_",
		"0", "007", "00000042", "0000000042", "2026-01-02", "20260102-0001", "2026-01-02-0001",
		"1700000000000", "9007199254740991", "123456789012345678", "1234567890",
		"01930e5c-0a00-7000-8000-000000000021", "u010", "1234-5678", strings.Repeat("x", 64),
	} {
		require.Empty(t, UserIDFault(id), id)
	}
}

func TestUserIDFault_RejectsPathSegmentsAndOtherCharacters(t *testing.T) {
	t.Parallel()
	for _, id := range []string{
		"", ".", "..", "...", ".kim", "kim.", "kim..", "a b", " 1", "1\n", "1\x00", "%2e%2e", "a/b", `a\b`, "김민준", "kim\u200b", "user+1",
		"k\u0131m", "ａ", strings.Repeat("x", 65),
	} {
		require.Contains(t, UserIDFault(id), "1 to 64 letters", "%q", id)
	}
}

func TestUserIDFault_RejectsResidentAndCardNumbers(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"900101-1234567", "851231.1234567", "4111-1111-1111-1111", "5500.0000.0000.0004"} {
		require.Contains(t, UserIDFault(id), "a resident registration number or a card's", id)
	}
}

func TestUserIDFault_RejectsTelephoneNumbersAndEmailAddresses(t *testing.T) {
	t.Parallel()
	for _, id := range []string{
		"01012345678", "010-1234-5678", "010.1234.5678", "010_1234_5678", "0101234-5678", "0111234567", "02-123-4567", "0212345678", "031-123-4567",
		"821012345678", "82-10-1234-5678", "8201012345678", "00821012345678", "0014155551234",
		"415-555-1234", "1-415-555-1234", "44-20-7946-0958", "82-2-123-4567", "09012345678", "-01012345678", "010-1234-5678_",
	} {
		require.Contains(t, UserIDFault(id), "telephone", id)
	}
	for _, id := range []string{"kim@example.com", "@kim", "kim@"} {
		require.Contains(t, UserIDFault(id), "e-mail", id)
	}
}
