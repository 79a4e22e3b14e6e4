// Package redact masks personal data and secrets in texts for logs and tables
// of failures. Errors are kept to find faults, and may quote what others wrote:
// a message's payload, a request, an answer from outside.
//
// It masks e-mail addresses, runs of nine or more digits (card, telephone and
// account numbers) that are neither part of a UUID nor of a date with a time,
// credentials in URLs and headers, values with a secret's name, and the values
// that Go, PostgreSQL and their drivers quote in errors. WARNING: it does not
// recognize names and street addresses; our own errors must not quote values
// from outside.
package redact

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"millrace/platform/text"
)

// Maximum lengths of a redacted error and a stack, in characters.
const (
	maxError = 2000 - 1 // plus an ellipsis
	maxStack = 4000 - 1
)

const quoted = `"(?:[^"\\]|\\.)*"` // a string as strconv.Quote writes it

var masks = []struct {
	found *regexp.Regexp
	mask  string
}{
	{regexp.MustCompile(`\b(parsing|parsing time|cannot parse|extra text:|invalid urn prefix:)(\s+)` + quoted), `$1$2"***"`},
	{regexp.MustCompile(`(converting driver\.Value type \S+ \()` + quoted), `$1"***"`},
	// PostgreSQL quotes a value without escaping the quotes in it.
	{regexp.MustCompile(`(?s)(invalid input (?:syntax|value) for [^"]{1,100}: |out of range: |malformed [a-z ]{1,40} literal: )".*"`), `$1"***"`},
	{regexp.MustCompile(`(?s)\bvalue ".*" is out of range`), `value "***" is out of range`},
	{regexp.MustCompile(`://[^\s"']*@`), "://***@"},
	{regexp.MustCompile(`[\p{L}\p{N}_.+%-]+(?:@|%40)[\p{L}\p{N}_.-]+`), "***@***"},
	{regexp.MustCompile(`(?i)\b(bearer|basic|digest|negotiate)\s+[\w.~+/=-]+`), "$1 ***"},
	{regexp.MustCompile(`whsec_[\w+/=-]+`), "whsec_***"},
	{regexp.MustCompile(`(?i)([\w-]*(?:authorization|password|passwd|secret|token|api[_-]?key|signature)(?:[_-]key)?)(["']?\s*[:=]\s*["']?)[^\s"',;&]+`), "$1$2***"},
}

// digits matches runs of digits. Its first alternative matches UUIDs and dates
// with a time, which are kept.
var digits = regexp.MustCompile(`(?i)\b([0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}|\d{4}-\d\d-\d\d[ T]\d\d:\d\d(?::\d\d)?)\b|\b\d(?:[ -]?\d){8,}\b` +
	`|\(0\d{1,2}\) ?\d{3,4}[ .-]?\d{4}\b|\b0\d{1,2}[./]\d{3,4}[./]\d{4}\b|\b\d{4}(?:[./]\d{4}){3}\b` + // groups with other separators
	`|\p{Nd}(?:[ \x{2010}-\x{2015}-]{0,2}\p{Nd}){8,}`)

// Text returns s as valid UTF-8 with all of that masked. The length is not
// limited.
func Text(s string) string {
	s = strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "?")
	for _, m := range masks {
		s = m.found.ReplaceAllString(s, m.mask)
	}
	var out strings.Builder
	done := 0
	for _, run := range digits.FindAllStringSubmatchIndex(s, -1) {
		if kept := run[2] >= 0; kept {
			continue
		}
		out.WriteString(s[done:run[0]] + "***")
		done = run[1]
	}
	return out.String() + s[done:]
}

// Error returns the text of err, masked, at most 2,000 characters long. For a
// panic it adds the stack, which contains no values. It returns "" for nil.
func Error(err error) string {
	if err == nil {
		return ""
	}
	var panicked *Panicked
	if errors.As(err, &panicked) {
		before, after, _ := strings.Cut(err.Error(), panicked.Error())
		return text.Cut(Text(before)+"panic: "+panicked.Value+Text(after), maxError) + "\n" + panicked.Stack
	}
	return text.Cut(Text(err.Error()), maxError)
}

// Panicked is the error of a recovered panic. Everything in it may be logged.
type Panicked struct {
	Value string // masked; only the type if the value is not a string, number or error
	Stack string // shortened to a maximum length
}

// Panic creates a Panicked from the results of recover and debug.Stack.
func Panic(recovered any, stack []byte) *Panicked {
	var value string
	switch v := recovered.(type) {
	case error, fmt.Stringer, string, bool, int, int64, uint64, float64:
		value = Text(fmt.Sprint(v))
	default:
		value = fmt.Sprintf("a value of type %T", v)
	}
	return &Panicked{Value: text.Cut(value, maxError), Stack: text.Cut(strings.ToValidUTF8(string(stack), "?"), maxStack)}
}

func (p *Panicked) Error() string { return "panic: " + p.Value + "\n" + p.Stack }
