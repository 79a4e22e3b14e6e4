package mail_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/platform/errs"
	"millrace/platform/mail"
)

// accepted maps addresses as people type them to their form in the envelope.
var accepted = map[string]string{
	"kim@example.com":                                 "kim@example.com",
	"  kim@example.com\t":                             "kim@example.com",
	"\u3000kim@example.com\u00a0\n":                   "kim@example.com",
	"Kim.Min-Ji+shop@Example.CO.KR":                   "Kim.Min-Ji+shop@example.co.kr",
	"o'brien@example.ie":                              "o'brien@example.ie",
	"a_b-c!#$%&*/=?^`{|}~@example.com":                "a_b-c!#$%&*/=?^`{|}~@example.com",
	"-kim-@example.com":                               "-kim-@example.com",
	"1@2.example":                                     "1@2.example",
	"kim@a--b.example":                                "kim@a--b.example",
	"kim@r3---x.example.com":                          "kim@r3---x.example.com",
	"kim@bücher.example":                              "kim@xn--bcher-kva.example",
	"kim@BÜCHER.example":                              "kim@xn--bcher-kva.example",
	"kim@xn--bcher-kva.example":                       "kim@xn--bcher-kva.example",
	"kim@한국.com":                                      "kim@xn--3e0b707e.com",
	"kim@\u1112\u1161\u11ab\u1100\u116e\u11a8.com":    "kim@xn--3e0b707e.com", // decomposed, as macOS writes it
	"kim@ｅｘａｍｐｌｅ.com":                                 "kim@example.com",
	"kim@例え。テスト":                                      "kim@xn--r8jz45g.xn--zckzah",
	strings.Repeat("a", 64) + "@example.com":          strings.Repeat("a", 64) + "@example.com",
	"kim@" + strings.Repeat("a", 63) + ".example":     "kim@" + strings.Repeat("a", 63) + ".example",
	"k@" + strings.Repeat("abcdefg.", 31) + "com":     "k@" + strings.Repeat("abcdefg.", 31) + "com",
	"k@" + strings.Repeat("abcdefg.", 30) + "abcd.ef": "k@" + strings.Repeat("abcdefg.", 30) + "abcd.ef",
}

// refused maps texts that are not addresses to a part of the error.
var refused = map[string]string{
	"":                                      "is empty",
	" \t ":                                  "is empty",
	"kim":                                   "has no at sign",
	"@example.com":                          "nothing before",
	"kim@":                                  "nothing after",
	"a..b@docomo.ne.jp":                     "two dots in a row before",
	".kim@x.com":                            "starts with a dot",
	"kim.@x.com":                            "a dot before the at sign",
	"...@x.com":                             "starts with a dot",
	`"a..b"@docomo.ne.jp`:                   "quoted",
	`"kim lee"@x.com`:                       "quoted",
	`"a@b"@x.com`:                           "quoted",
	`kim\@x.com`:                            `'\\'`,
	"kim(work)@x.com":                       "'('",
	"kim,lee@x.com":                         "','",
	"Kim <kim@x.com>":                       "a name or brackets",
	"<kim@x.com>":                           "a name or brackets",
	"mailto:kim@x.com":                      "mailto",
	"MAILTO:kim@x.com":                      "mailto",
	"kim@x.com, lee@x.com":                  "more than one at sign",
	"kim@x.com;lee@x.com":                   "more than one at sign",
	"kim@@x.com":                            "more than one at sign",
	"kim lee@x.com":                         "a blank",
	"kim@x .com":                            "a blank",
	"kim @x.com":                            "a blank",
	"kim\u3000lee@x.com":                    "a blank",
	"kim@x.com\r\nBcc: lee@x.com":           "control character",
	"kim\n@x.com":                           "control character",
	"kim\x00@x.com":                         "control character",
	"kim\x7f@x.com":                         "control character",
	"kim\u200b@x.com":                       "invisible",
	"kim@x\u202e.com":                       "invisible",
	"\ufeffkim@x.com":                       "invisible",
	"kim\xff@x.com":                         "UTF-8",
	"kim＠x.com":                             "full-width at sign",
	"ｋｉｍ@x.com":                             "letters other than a-z",
	"😀@x.com":                               "letters other than a-z",
	"kim@localhost":                         "no dot after the at sign",
	"kim@com":                               "no dot after the at sign",
	"kim@x.com.":                            "ends with a dot",
	"kim@.x.com":                            "a dot after the at sign",
	"kim@x..com":                            "two dots in a row after",
	"kim@[192.0.2.1]":                       "an IP address",
	"kim@[IPv6:2001:db8::1]":                "an IP address",
	"kim@192.0.2.1":                         "an IP address",
	"kim@example.123":                       "ends with a number",
	"kim@example.c":                         "a single letter",
	"kim@my_shop.com":                       "a _ after the at sign",
	"kim@-x.com":                            "a hyphen at the start or end",
	"kim@x-.com":                            "a hyphen at the start or end",
	"kim@x!.com":                            "cannot exist",
	"kim@x,com":                             "cannot exist",
	"kim@xn--a.com":                         "cannot exist",
	"kim@xn--.com":                          "cannot exist",
	"kim@😀\u200d.com":                       "invisible",
	strings.Repeat("a", 65) + "@x.com":      "more than 64 bytes before",
	strings.Repeat("가", 22) + "@x.com":      "more than 64 bytes before",
	"kim@" + strings.Repeat("a", 64) + ".c": "cannot exist",
	"kim@" + strings.Repeat("abcdefg.", 31) + "com": "longer than 254",
	"kim@" + strings.Repeat("abcdefg.", 40) + "com": "cannot exist",
}

func TestParseAddress_AcceptsDeliverableAddresses(t *testing.T) {
	t.Parallel()
	for text, want := range accepted {
		got, err := mail.ParseAddress(text)
		require.NoError(t, err, "%q", text)
		require.Equal(t, want, got.String(), "%q", text)
		again, err := mail.ParseAddress(got.String())
		require.NoError(t, err, "%q", got)
		require.Equal(t, got, again, "the stored form parses to itself")
	}
}

func TestParseAddress_RejectsWithReason(t *testing.T) {
	t.Parallel()
	for text, want := range refused {
		_, err := mail.ParseAddress(text)
		require.ErrorContains(t, err, want, "%q", text)
		require.Equal(t, errs.Invalid, errs.KindOf(err), "%q", text)
		require.NotContains(t, err.Error(), "lee", "an error names no address")
	}
}
