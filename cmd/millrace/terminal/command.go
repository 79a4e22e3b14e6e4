package terminal

import (
	"fmt"
	"strings"

	"al.essio.dev/pkg/shellescape"

	"millrace/platform/text"
)

// Command is a command line to suggest to an operator: words of the program, and
// untrusted values. A shell reads each value as one word, and the program never
// reads one as a flag.
func Command(words string, values ...string) string {
	for _, value := range values {
		if strings.HasPrefix(value, "-") {
			words += " --"
			break
		}
	}
	for _, value := range values {
		words += " " + quote(value)
	}
	return words
}

// quote makes a value one word of a POSIX shell. A value with control characters or
// invisible characters becomes $'…' with escapes, which bash, zsh and ksh support
// (and POSIX since 2024).
func quote(value string) string {
	if text.Visible(value) == value {
		return shellescape.Quote(value)
	}
	var out strings.Builder
	out.WriteString("$'")
	for _, b := range []byte(value) {
		if b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || strings.IndexByte(" ._/:@-", b) >= 0 {
			out.WriteByte(b)
			continue
		}
		fmt.Fprintf(&out, `\%03o`, b) // always three digits, so that a digit after it is not part of the escape
	}
	out.WriteString("'")
	return out.String()
}
