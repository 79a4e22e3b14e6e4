package text

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// maxMarks is how many combining marks may follow each other. Names and prayers
// in living scripts need fewer.
const maxMarks = 8

// Line returns a single line in its stored form, or a fault to be shown after
// the field's name. A fault quotes nothing of the text but a code point. Text
// that consists of blanks becomes "", without a fault.
func Line(s string) (stored, fault string) {
	if !utf8.ValidString(s) {
		return "", notUTF8
	}
	stored = norm.NFC.String(strings.TrimSpace(s))
	if plain(stored) {
		return stored, ""
	}
	runes := []rune(stored)
	for i, r := range runes {
		what := storable(r)
		switch {
		case what != "":
		case r == '\n' || r == '\r' || r == '\u2028' || r == '\u2029':
			what = "a line break, and the field has one line"
		case r == '\t':
			what = "a tab: use a space"
		case isBidi(r):
			what = "a character that turns the direction of text: delete it"
		case (isInvisible(r) || isBlank(r)) && !belongs(runes, i):
			what = "a character that cannot be seen: delete it"
		case i == 0 && unicode.Is(unicode.M, r):
			what = "a combining mark without a letter before it"
		case !isAssigned(r):
			what = "no character that this program knows"
		}
		if what != "" {
			return "", at(i, r, what)
		}
	}
	return stored, marks(runes)
}

// Given is Line for required text with a maximum length of most characters.
func Given(s string, most int) (stored, fault string) {
	stored, fault = Line(s)
	switch {
	case fault != "":
		return "", fault
	case stored == "":
		return "", "is missing"
	case Length(stored) > most:
		return "", fmt.Sprintf("is longer than %d characters", most)
	}
	return stored, ""
}

// Cut shortens s to its first most characters and adds an ellipsis if it cut
// any.
func Cut(s string, most int) string {
	count := 0
	for at := range s {
		if count == most {
			return s[:at] + "…"
		}
		count++
	}
	return s
}

// Lines is Line for text of several lines.
func Lines(s string) (stored, fault string) {
	if !utf8.ValidString(s) {
		return "", notUTF8
	}
	stored = norm.NFC.String(strings.TrimSpace(breaks.Replace(s)))
	runes := []rune(stored)
	seen := stored == ""
	var open []rune // the characters that end the directional embeddings opened in this line
	for i, r := range runes {
		if what := storable(r); what != "" {
			return "", at(i, r, what)
		}
		if isTag(r) && !belongs(runes, i) {
			return "", at(i, r, "a character that cannot be seen: delete it")
		}
		switch r {
		case lre, rle:
			open = append(open, pdf)
		case lri, rli, fsi:
			open = append(open, pdi)
		case pdf, pdi:
			if len(open) == 0 || open[len(open)-1] != r {
				return "", at(i, r, endless)
			}
			open = open[:len(open)-1]
		case lro, rlo:
			return "", at(i, r, "a character that turns the direction of text: delete it")
		}
		if len(open) > 0 && (r == '\n' || i == len(runes)-1) {
			return "", at(i, r, endless)
		}
		seen = seen || isVisible(r)
	}
	if !seen {
		return "", "has nothing but blank or invisible characters: write something"
	}
	return stored, marks(runes)
}

// Length counts the characters of a text in its stored form.
func Length(stored string) int { return utf8.RuneCountInString(stored) }

const (
	notUTF8 = "is not UTF-8: send it in UTF-8"
	endless = "where a direction of text has its beginning without its end in the same line, or its end without its beginning: delete the invisible character"
)

var breaks = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\u2028", "\n", "\u2029", "\n")

func at(i int, r rune, what string) string {
	return fmt.Sprintf("has as character %d %U, %s", i+1, r, what)
}

// plain reports whether s has only printable ASCII and Hangul syllables, which
// need no further checks.
func plain(s string) bool {
	for _, r := range s {
		if (r < ' ' || r > '~') && (r < '가' || r > '힣') {
			return false
		}
	}
	return true
}

// storable returns why no text may contain the character, or "".
func storable(r rune) string {
	switch {
	case r == '\n' || r == '\r' || r == '\t':
		return ""
	case unicode.IsControl(r):
		return "a control character: delete it"
	case unicode.Is(unicode.Co, r):
		return "a character of private use, which others see as something else: delete it"
	case r&0xFFFE == 0xFFFE || r >= 0xFDD0 && r <= 0xFDEF:
		return "no character of Unicode: delete it"
	case r >= 0x206A && r <= 0x206F || r >= 0xFFF9 && r <= 0xFFFB:
		return "a character that cannot be seen: delete it"
	}
	return ""
}

// marks returns a fault if more than maxMarks combining marks follow each
// other.
func marks(runes []rune) string {
	row := 0
	for i, r := range runes {
		if !unicode.In(r, unicode.Mn, unicode.Me) {
			row = 0
		} else if row++; row > maxMarks {
			return at(i, r, fmt.Sprintf("more than %d combining marks in a row", maxMarks))
		}
	}
	return ""
}
