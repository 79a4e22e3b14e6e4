package dispatch

import (
	"regexp"
	"strings"
	"unicode/utf8"
)

// maxError bounds last_error, in characters.
const maxError = 500

// What the outside says of a failure may quote what it was sent. An error is
// kept to find a fault, not to find a person: e-mail addresses, runs of nine
// and more digits (cards, telephone numbers, accounts), credentials in URLs and
// headers, and values named like a secret are masked.
var masks = []struct {
	found *regexp.Regexp
	mask  string
}{
	{regexp.MustCompile(`://[^/\s@]+@`), "://***@"},
	{regexp.MustCompile(`[\w.+%-]+@[\w.-]+`), "***@***"},
	{regexp.MustCompile(`(?i)\b(bearer|basic)\s+[\w.~+/=-]+`), "$1 ***"},
	{regexp.MustCompile(`(?i)\b(authorization|password|passwd|secret|token|api[_-]?key|signature)(["']?\s*[:=]\s*["']?)[^\s"',;&]+`), "$1$2***"},
	{regexp.MustCompile(`\b\d(?:[ -]?\d){8,}\b`), "***"},
}

// redact is the text of err, masked and bounded.
func redact(err error) string {
	text := strings.ToValidUTF8(strings.ReplaceAll(err.Error(), "\x00", ""), "?")
	for _, m := range masks {
		text = m.found.ReplaceAllString(text, m.mask)
	}
	if utf8.RuneCountInString(text) > maxError {
		text = string([]rune(text)[:maxError-1]) + "…"
	}
	return text
}
