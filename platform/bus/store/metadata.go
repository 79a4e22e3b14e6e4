package store

import (
	"encoding/json"
	"strings"

	"github.com/ThreeDotsLabs/watermill/message"
)

// DecodeMetadata decodes the metadata of a row: an object of strings, which is
// nearly always plain ASCII without escapes or white space, as EncodeMetadata writes it.
// All else is encoding/json's, which took a quarter of a relay's processor time.
// What cannot be read is nil: what the columns have is left.
func DecodeMetadata(text []byte) message.Metadata {
	if m := plainMetadata(string(text)); m != nil {
		return m
	}
	var m message.Metadata
	if err := json.Unmarshal(text, &m); err != nil {
		return nil
	}
	return m
}

// plainMetadata is nil for whatever is not plain.
func plainMetadata(text string) message.Metadata {
	if len(text) < 2 || text[0] != '{' || text[len(text)-1] != '}' {
		return nil
	}
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '\\' {
			return nil
		}
	}
	m := make(message.Metadata, 12)
	rest := text[1 : len(text)-1]
	for first := true; rest != ""; first = false {
		if !first {
			if rest[0] != ',' {
				return nil
			}
			rest = rest[1:]
		}
		name, after, ok := quoted(rest)
		if !ok || !strings.HasPrefix(after, ":") {
			return nil
		}
		value, after, ok := quoted(after[1:])
		if !ok {
			return nil
		}
		m[name], rest = value, after
	}
	return m
}

// quoted takes a string in quotation marks, which has no escapes, from the start of text.
func quoted(text string) (inside, after string, ok bool) {
	if text == "" || text[0] != '"' {
		return "", "", false
	}
	return strings.Cut(text[1:], `"`)
}
