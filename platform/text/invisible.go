package text

import (
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// Characters that control the direction of text.
const (
	alm, lrm, rlm           = '\u061C', '\u200E', '\u200F'
	lre, rle, pdf, lro, rlo = '\u202A', '\u202B', '\u202C', '\u202D', '\u202E'
	lri, rli, fsi, pdi      = '\u2066', '\u2067', '\u2068', '\u2069'
)

const (
	zwnj, zwj   = '\u200C', '\u200D'
	keycap      = '\u20E3'
	blackFlag   = '\U0001F3F4'
	lastTag     = '\U000E007F'
	maxTags     = 8
	information = 'ℹ' // the only emoji among the letters
)

func isBidi(r rune) bool {
	return r == alm || r == lrm || r == rlm || r >= lre && r <= rlo || r >= lri && r <= pdi
}

// isInvisible reports whether a character shows nothing by itself: Unicode's
// Default_Ignorable_Code_Point and format characters, except the few formats
// that are shown, such as the Arabic year sign.
func isInvisible(r rune) bool {
	return unicode.In(r, unicode.Cf, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector) &&
		!unicode.Is(unicode.Prepended_Concatenation_Mark, r)
}

// isBlank reports whether a character counts as visible but shows nothing: the
// empty Braille pattern, the null notehead, the object replacement character.
func isBlank(r rune) bool { return r == '\u2800' || r == '\U0001D159' || r == '\uFFFC' }

func isVisible(r rune) bool {
	return !unicode.IsSpace(r) && !isInvisible(r) && !isBlank(r) && !unicode.In(r, unicode.Mn, unicode.Me)
}

func isTag(r rune) bool { return r >= 0xE0000 && r <= lastTag }

// isAssigned reports whether Unicode has the character, or will have it: phones
// send new emoji and ideographs before this program's tables know them.
func isAssigned(r rune) bool {
	return !unicode.Is(unicode.Cn, r) || r >= 0x1F000 && r <= 0x1FAFF || r >= 0x20000 && r <= 0x3FFFD
}

// isEmoji accepts a wide range: all symbols from the arrows on.
func isEmoji(r rune) bool {
	return r == '©' || r == '®' || r == information || r >= 0x1F000 && r <= 0x1FAFF ||
		r >= 0x203C && unicode.In(r, unicode.S, unicode.P) && !isBlank(r)
}

// joining are the scripts that use joiners.
var joining = []*unicode.RangeTable{
	unicode.Arabic, unicode.Syriac, unicode.Mandaic, unicode.Nko, unicode.Mongolian, unicode.Phags_Pa,
	unicode.Devanagari, unicode.Bengali, unicode.Gurmukhi, unicode.Gujarati, unicode.Oriya, unicode.Tamil, unicode.Telugu,
	unicode.Kannada, unicode.Malayalam, unicode.Sinhala, unicode.Tibetan, unicode.Khmer, unicode.Myanmar,
}

func joins(r rune) bool { return unicode.In(r, joining...) && unicode.In(r, unicode.L, unicode.M) }

// isVirama reports whether the character removes the vowel from a consonant. A
// joiner after it selects the shape, also at the end of a word (RFC 5892,
// appendix A).
func isVirama(r rune) bool { return norm.NFC.PropertiesString(string(r)).CCC() == 9 }

// belongs reports whether an invisible character is at a position where a
// script or an emoji needs it.
func belongs(runes []rune, i int) bool {
	near := func(j int) rune {
		if j < 0 || j >= len(runes) {
			return ' '
		}
		return runes[j]
	}
	r, before, after := runes[i], near(i-1), near(i+1)
	switch {
	case r == zwj || r == zwnj:
		if isVirama(before) || joins(before) && joins(after) {
			return true
		}
		if before == '\uFE0F' {
			before = near(i - 2)
		}
		return r == zwj && isEmoji(before) && isEmoji(after)
	case r == '\uFE0E' || r == '\uFE0F':
		return isEmoji(before) || after == keycap && (before == '#' || before == '*' || before >= '0' && before <= '9')
	case r >= '\uFE00' && r <= '\uFE02' || r >= 0xE0100 && r <= 0xE01EF:
		return unicode.Is(unicode.Han, before)
	case unicode.Is(unicode.Variation_Selector, r): // Mongolian has its own
		return unicode.Is(unicode.Mongolian, before)
	case isTag(r):
		return inFlag(runes, i)
	}
	return false
}

// inFlag reports whether a tag belongs to a flag: tags after the black flag
// that end with the cancel tag.
func inFlag(runes []rune, i int) bool {
	first, last := i, i
	for first > 0 && isTag(runes[first-1]) {
		first--
	}
	for last < len(runes)-1 && isTag(runes[last+1]) {
		last++
	}
	return first > 0 && runes[first-1] == blackFlag && runes[last] == lastTag && last-first < maxTags
}
