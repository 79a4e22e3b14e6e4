package text

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Visible returns text from outside as one line that a terminal can show
// safely. Control characters, invisible characters, characters that change the
// direction of text, and invalid UTF-8 are escaped as in a Go string (\x1b,
// \n, \u202e, \xff). Escapes that the text already contains stay as they
// are. Characters that [Line] accepts stay unchanged, including joiners in a
// script or an emoji.
func Visible(s string) string { return visible(s, "") }

// VisibleLines is Visible, but keeps line feeds and tabs.
func VisibleLines(s string) string { return visible(s, "\n\t") }

func visible(s, keep string) string {
	if plain(s) {
		return s
	}
	var out strings.Builder
	runes := []rune(s)
	marks, at := 0, 0 // combining marks in a row; the byte offset of runes[i]
	for i, r := range runes {
		size := utf8.RuneLen(r)
		if r == utf8.RuneError {
			_, size = utf8.DecodeRuneInString(s[at:])
		}
		if unicode.In(r, unicode.Mn, unicode.Me) {
			marks++
		} else {
			marks = 0
		}
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&out, `\x%02x`, s[at])
		case strings.ContainsRune(keep, r):
			out.WriteRune(r)
		case hidden(r) && !belongs(runes, i) || marks > maxMarks:
			out.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		default:
			out.WriteRune(r)
		}
		at += size
	}
	return out.String()
}

// VisibleJSON returns encoded JSON in which the characters that [Visible]
// escapes are written as JSON escapes (\u202e); encoding/json escapes only few
// of them. Line feeds, which occur only between JSON values, stay.
func VisibleJSON(encoded []byte) []byte {
	out := make([]byte, 0, len(encoded))
	for _, r := range string(encoded) {
		if r == '\n' || !hidden(r) {
			out = utf8.AppendRune(out, r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			out = fmt.Appendf(out, `\u%04x`, unit)
		}
	}
	return out
}

// hidden reports whether a single line may not contain the character.
func hidden(r rune) bool {
	return unicode.IsControl(r) || storable(r) != "" || r == '\u2028' || r == '\u2029' || isBidi(r) || isInvisible(r) || isBlank(r) || !isAssigned(r)
}
