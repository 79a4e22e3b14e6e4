package web

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// mistyped matches encoding/json's error for a value of the wrong type. It
// names Go types and may quote a number.
var mistyped = regexp.MustCompile(`json: cannot unmarshal .*? into Go (?:struct field [^\s.]*\.(\S+)|value) of type (.+)`)

// plain replaces such an error, at the end of a text, with a message for the
// caller.
func plain(text string) string {
	found := mistyped.FindStringSubmatchIndex(text)
	if found == nil {
		return text
	}
	message := expected(text[found[4]:found[5]])
	if found[2] >= 0 {
		message = text[found[2]:found[3]] + " " + message
	} else {
		message = "it " + message
	}
	return text[:found[0]] + message
}

// plainAt does the same for a finding about the body, and adds the field to its
// location.
func plainAt(location, text string) (at, message string) {
	if found := mistyped.FindStringSubmatch(text); found != nil {
		if found[1] != "" {
			location += "." + found[1]
		}
		return location, expected(found[2])
	}
	if strings.Contains(text, "parsing time ") || strings.HasPrefix(text, "Time.UnmarshalJSON") {
		return location, "a time in it is not in RFC 3339, as 2026-01-02T15:04:05Z"
	}
	return location, exponent.ReplaceAllStringFunc(text, func(number string) string {
		value, err := strconv.ParseFloat(number, 64)
		if err != nil {
			return number
		}
		return strconv.FormatFloat(value, 'f', -1, 64)
	})
}

// exponent matches a large limit as huma writes it.
var exponent = regexp.MustCompile(`\b[0-9.]+e\+[0-9]+\b`)

// expected returns a description of a Go type in terms of JSON.
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
	case "object":
		return "must be an object"
	}
	if strings.HasPrefix(goType, "[]") {
		return "must be an array"
	}
	return "must be of another JSON type, see /docs"
}
