package web

import (
	"fmt"
	"math"
	"regexp"
	"strings"
)

// mistyped is what encoding/json says of a value that is JSON, but not what the
// program expects there: it names types of the program and may repeat a number.
var mistyped = regexp.MustCompile(`json: cannot unmarshal .*? into Go (?:struct field [^\s.]*\.(\S+)|value) of type (.+)`)

// plain puts such a sentence, at the end of a text, in words for the caller.
func plain(text string) string {
	found := mistyped.FindStringSubmatchIndex(text)
	if found == nil {
		return text
	}
	said := expected(text[found[4]:found[5]])
	if found[2] >= 0 {
		said = text[found[2]:found[3]] + " " + said
	} else {
		said = "it " + said
	}
	return text[:found[0]] + said
}

// plainAt does the same for a finding about the body, and names the field in
// its location.
func plainAt(location, text string) (at, said string) {
	if found := mistyped.FindStringSubmatch(text); found != nil {
		if found[1] != "" {
			location += "." + found[1]
		}
		return location, expected(found[2])
	}
	if strings.Contains(text, "parsing time ") || strings.HasPrefix(text, "Time.UnmarshalJSON") {
		return location, "a time in it is not in RFC 3339, as 2026-01-02T15:04:05Z"
	}
	return location, text
}

// expected says what a type of Go is in JSON.
func expected(goType string) string {
	goType = strings.TrimPrefix(goType, "*")
	whole := func(least int64, most uint64) string {
		return fmt.Sprintf("must be a whole number between %d and %d, in digits only", least, most)
	}
	switch goType {
	case "int", "int64":
		return whole(math.MinInt64, math.MaxInt64)
	case "int32":
		return whole(math.MinInt32, math.MaxInt32)
	case "int16":
		return whole(math.MinInt16, math.MaxInt16)
	case "int8":
		return whole(math.MinInt8, math.MaxInt8)
	case "uint", "uint64":
		return whole(0, math.MaxUint64)
	case "uint32":
		return whole(0, math.MaxUint32)
	case "float32", "float64":
		return "must be a number"
	case "bool":
		return "must be true or false"
	case "string":
		return "must be a string"
	}
	if strings.HasPrefix(goType, "[]") {
		return "must be an array"
	}
	return "must be of another JSON type, see /docs"
}
