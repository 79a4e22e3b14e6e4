package redact_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"millrace/platform/redact"
)

func TestText_MasksPersonalDataAndSecrets(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"550 no mailbox <kim.minji@example.co.kr>":      "550 no mailbox <***@***>",
		"no mailbox 김민지@예시.한국":                          "no mailbox ***@***",
		"/contacts/kim%40example.com":                   "/contacts/***@***",
		"card 4111 1111-1111 1111 declined":             "card *** declined",
		"call 010-1234-5678":                            "call ***",
		"call (010) 1234-5678":                          "call ***",
		"call 010.1234.5678 or 010/1234/5678":           "call *** or ***",
		"call 010–1234–5678, ０１０１２３４５６７８":               "call ***, ***",
		"card 4111.1111.1111.1111":                      "card ***",
		"PGPASSWORD=x1 client_secret: y1 secret_key=z1": "PGPASSWORD=*** client_secret: *** secret_key=***",
		"signed with whsec_AbC+/=":                      "signed with whsec_***",
		`Post "https://user:pw@pg.example/charges": no`: `Post "https://***@pg.example/charges": no`,
		`dial postgres://u:p@ss/w@rd@db/x`:              `dial postgres://***@db/x`,
		(&url.Error{Op: "Post", URL: "https://sk_live_1:@pg.example/charges", Err: io.EOF}).Error(): `Post "https://***@pg.example/charges": EOF`,
		"Authorization: Bearer abc.def-ghi":                                            "Authorization: *** ***",
		`{"api_key":"sk_live_1","code":402}`:                                           `{"api_key":"***","code":402}`,
		"dial tcp 127.0.0.1:8025: connection refused":                                  "dial tcp 127.0.0.1:8025: connection refused",
		"bad \xff\x00bytes":                                                            "bad ?bytes",
		`pq: invalid input syntax for type uuid: "Kim "Minji"" (22P02)`:                `pq: invalid input syntax for type uuid: "***" (22P02)`,
		`pq: value "77" is out of range for type smallint`:                             `pq: value "***" is out of range for type smallint`,
		`pq: duplicate key value violates unique constraint "orders_pkey" (23505)`:     `pq: duplicate key value violates unique constraint "orders_pkey" (23505)`,
		`converting driver.Value type string ("Kim Minji") to a int64: invalid syntax`: `converting driver.Value type string ("***") to a int64: invalid syntax`,
	} {
		require.Equal(t, want, redact.Text(given))
		require.Equal(t, want, redact.Text(want), "repeating it changes nothing")
	}
}

func TestText_KeepsIDsAndTimes(t *testing.T) {
	t.Parallel()
	for _, kept := range []string{
		"payment 0195a3f0-0000-7000-8000-000000000001 is open", "01999999-0000-7000-8000-000000000001", "id 12345678-1234-4234-8234-123456789012,",
		"20261129-1408-7001-9002-123456789012", "dial tcp 192.168.100.200:5432 and 10.0.0.1", "payment.callback_secrets: has the secret", "0195A3F0-0000-7000-8000-000000000001", "payment/call/01999999-0000-7000-8000-000000000001",
		"since 2026-11-29 14:08:05", "at 2026-11-29T14:08:05Z", "goods-17", "deposit-5600001", "10.100.200.250:65535",
	} {
		require.Equal(t, kept, redact.Text(kept))
	}
	require.Equal(t, "0195a3f0-0000-7000-8000-000000000001 ***", redact.Text("0195a3f0-0000-7000-8000-000000000001 4111111111111111"))
	require.Equal(t, "2026-11-29 14:08:05 ***", redact.Text("2026-11-29 14:08:05 010-1234-5678"))
	require.Equal(t, "***", redact.Text("12345678-1234-0234-0234-123456789012"), "it is no UUID")
}

func TestError_MasksQuotedPayloadValues(t *testing.T) {
	t.Parallel()
	var at struct{ At time.Time }
	ofTime := json.Unmarshal([]byte(`{"at":"Kim \"Minji\" kim@example.com"}`), &at)
	_, ofParse := time.Parse(time.DateOnly, "Kim Minji")
	_, ofNumber := strconv.Atoi("Kim Minji")
	for _, err := range []error{ofTime, ofParse, ofNumber} {
		require.ErrorContains(t, err, "Kim")
		kept := redact.Error(fmt.Errorf("payment.completed: %w", err))
		require.NotContains(t, kept, "Minji")
		require.NotContains(t, kept, "Kim")
		require.NotContains(t, kept, "example.com")
		require.Contains(t, kept, "parsing ")
	}
	require.Empty(t, redact.Error(nil))
	require.Equal(t, 2000, utf8.RuneCountInString(redact.Error(errors.New(strings.Repeat("가", 5000)))))
}

func TestPanic_KeepsStackAndDropsValue(t *testing.T) {
	t.Parallel()
	type order struct{ Name string }
	for _, c := range []struct {
		thrown any
		value  string
	}{
		{"no mailbox kim@example.com", "no mailbox ***@***"}, {errors.New("card 4111111111111111"), "card ***"}, {7, "7"},
		{order{"Kim"}, "a value of type redact_test.order"}, {&order{"Kim"}, "a value of type *redact_test.order"}, {[]byte("Kim"), "a value of type []uint8"},
	} {
		panicked := redact.Panic(c.thrown, debug.Stack())
		require.Equal(t, c.value, panicked.Value)
		kept := redact.Error(fmt.Errorf("handle kim@example.com: %w", panicked))
		require.Contains(t, kept, "handle ***@***: panic: "+c.value+"\n")
		require.Contains(t, kept, "redact_test.go")
		require.NotContains(t, kept, "Kim")
	}
	deep := redact.Panic("x", []byte(strings.Repeat("frame\n", 10_000)))
	require.Less(t, len(redact.Error(deep)), 10_000)
}
