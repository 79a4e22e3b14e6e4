package dispatch

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestAnErrorIsKeptWithoutWhoAndWithoutSecrets(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"550 no mailbox <kim.minji@example.co.kr>":      "550 no mailbox <***@***>",
		"card 4111 1111-1111 1111 declined":             "card *** declined",
		"call 010-1234-5678":                            "call ***",
		`Post "https://user:pw@pg.example/charges": no`: `Post "https://***@pg.example/charges": no`,
		"Authorization: Bearer abc.def-ghi":             "Authorization: *** ***",
		`{"api_key":"sk_live_1","code":402}`:            `{"api_key":"***","code":402}`,
		"dial tcp 127.0.0.1:8025: connection refused":   "dial tcp 127.0.0.1:8025: connection refused",
		"bad \xff\x00bytes":                             "bad ?bytes",
	} {
		require.Equal(t, want, redact(errors.New(given)))
	}
	long := redact(errors.New(strings.Repeat("가", 2000)))
	require.Equal(t, maxError, utf8.RuneCountInString(long))
}
