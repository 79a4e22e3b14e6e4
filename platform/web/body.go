package web

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json/jsontext"

	"millrace/platform/text"
)

// multiline is the format of a string that may have several lines, set with the
// struct tag format:"multiline". Any other string without a pattern, an
// enumeration or a format is a single line.
const multiline = "multiline"

// cleanBody checks a JSON body against the operation's schema in one pass and
// returns the body without its invalid parts. It refuses what encoding/json
// would accept: a name in another case, duplicate names, and invalid UTF-8.
// Text is normalized (package text) before its length is checked.
//
// A syntax error is returned at once, because nothing after it can be checked.
func cleanBody(registry huma.Registry, schema *huma.Schema, body []byte, found *findings) ([]byte, *huma.ErrorModel) {
	switch {
	case bytes.HasPrefix(body, []byte("\uFEFF")):
		return nil, notJSON("body", "begins with a byte order mark: leave it out")
	case bytes.HasPrefix(body, []byte("\xff\xfe")), bytes.HasPrefix(body, []byte("\xfe\xff")), bytes.HasPrefix(body, []byte("{\x00")):
		return nil, notJSON("body", "is UTF-16: send it in UTF-8")
	}
	// Duplicate names are found in object, which reports them together with the
	// other findings.
	c := &cleaner{registry: registry, found: found, in: jsontext.NewDecoder(bytes.NewReader(body), jsontext.AllowDuplicateNames(true))}
	if err := c.value("body", schema); err != nil {
		return nil, c.syntax(err)
	}
	if _, err := c.in.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, notJSON("body", "goes on after its JSON value: send one value")
	}
	if len(c.out) == 0 { // not an object: nothing else to check
		return nil, &huma.ErrorModel{Status: http.StatusUnprocessableEntity, Detail: unfit}
	}
	return c.out, nil
}

type cleaner struct {
	registry huma.Registry
	found    *findings
	in       *jsontext.Decoder
	out      []byte
}

// value copies the next value if it has the schema's type. Otherwise it adds a
// finding and skips the value. It enters only objects and arrays that the
// schema has, so the schema bounds the depth.
func (c *cleaner) value(location string, schema *huma.Schema) error {
	schema = c.resolved(schema)
	kind := c.in.PeekKind()
	if schema == nil { // any value is accepted
		raw, err := c.in.ReadValue()
		c.out = append(c.out, raw...)
		return err
	}
	switch {
	case kind == 'n' && schema.Nullable, (kind == 't' || kind == 'f') && schema.Type == huma.TypeBoolean:
		raw, err := c.in.ReadValue()
		c.out = append(c.out, raw...)
		return err
	case kind == '{' && schema.Type == huma.TypeObject:
		return c.object(location, schema)
	case kind == '[' && schema.Type == huma.TypeArray:
		return c.array(location, schema)
	case kind == '"' && schema.Type == huma.TypeString:
		return c.text(location, schema)
	case kind == '0' && (schema.Type == huma.TypeInteger || schema.Type == huma.TypeNumber):
		return c.number(location, schema)
	}
	if err := c.in.SkipValue(); err != nil {
		return err
	}
	if kind == 'n' {
		c.found.add(location, "must not be null: give a value, or leave it out if it is not required")
	} else {
		c.found.add(location, "%s", expected(goType(schema)))
	}
	return nil
}

func (c *cleaner) resolved(schema *huma.Schema) *huma.Schema {
	for schema != nil && schema.Ref != "" {
		schema = c.registry.SchemaFromRef(schema.Ref)
	}
	return schema
}

// object copies the members that the schema has, each once.
func (c *cleaner) object(location string, schema *huma.Schema) error {
	if _, err := c.in.ReadToken(); err != nil {
		return err
	}
	c.out = append(c.out, '{')
	given := map[string]bool{}
	for c.in.PeekKind() != '}' {
		token, err := c.in.ReadToken()
		if err != nil {
			return err
		}
		name := token.String()
		property, known := schema.Properties[name]
		switch {
		case !known && schema.AdditionalProperties == false:
			c.unknown(location, name, schema)
		case given[name]:
			c.found.add(location+"."+shownName(name), "is given twice: give it once")
		default:
			given[name] = true
			if err := c.member(location, name, property); err != nil {
				return err
			}
			continue
		}
		if err := c.in.SkipValue(); err != nil {
			return err
		}
	}
	c.out = append(c.out, '}')
	_, err := c.in.ReadToken()
	return err
}

// member copies a name and its value, or neither.
func (c *cleaner) member(location, name string, schema *huma.Schema) error {
	before := len(c.out)
	if c.out[before-1] != '{' {
		c.out = append(c.out, ',')
	}
	quoted, err := jsontext.AppendQuote(c.out, name)
	if err != nil {
		return err
	}
	c.out = append(quoted, ':')
	start := len(c.out)
	if err := c.value(location+"."+shownName(name), schema); err != nil {
		return err
	}
	if len(c.out) == start {
		c.out = c.out[:before]
	}
	return nil
}

func (c *cleaner) array(location string, schema *huma.Schema) error {
	if _, err := c.in.ReadToken(); err != nil {
		return err
	}
	c.out = append(c.out, '[')
	for i := 0; c.in.PeekKind() != ']'; i++ {
		before := len(c.out)
		if c.out[before-1] != '[' {
			c.out = append(c.out, ',')
		}
		start := len(c.out)
		if err := c.value(location+"["+strconv.Itoa(i)+"]", schema.Items); err != nil {
			return err
		}
		if len(c.out) == start {
			c.out = c.out[:before]
		}
	}
	c.out = append(c.out, ']')
	_, err := c.in.ReadToken()
	return err
}

func (c *cleaner) text(location string, schema *huma.Schema) error {
	token, err := c.in.ReadToken()
	if err != nil {
		return err
	}
	value, fault := token.String(), ""
	switch free := len(schema.Enum) == 0 && schema.Pattern == ""; {
	case free && schema.Format == "":
		value, fault = text.Line(value)
	case free && schema.Format == multiline:
		value, fault = text.Lines(value)
	case schema.Format == "date-time" && !isTime(value):
		fault = "must be a time as RFC 3339 writes it, as 2026-12-01T10:00:00+09:00"
	}
	if fault != "" {
		c.found.add(location, "%s", fault)
		return nil
	}
	c.out, err = jsontext.AppendQuote(c.out, value)
	return err
}

// isTime reports whether s is an RFC 3339 time. Package time also accepts a
// comma before the fraction, one-digit hours and invalid offsets, and cannot
// marshal such an offset.
func isTime(s string) bool {
	_, err := time.Parse(time.RFC3339, s)
	return err == nil && rfc3339.MatchString(s)
}

var rfc3339 = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`)

func (c *cleaner) number(location string, schema *huma.Schema) error {
	raw, err := c.in.ReadValue()
	if err != nil {
		return err
	}
	goType := goType(schema)
	if schema.Type == huma.TypeNumber {
		_, err = strconv.ParseFloat(string(raw), 64)
	} else {
		bits := 64
		if goType == "int32" {
			bits = 32
		}
		_, err = strconv.ParseInt(string(raw), 10, bits) // digits only: many readers treat 1.0 and 1e3 as other kinds of numbers
	}
	if err != nil {
		c.found.add(location, "%s", expected(goType))
		return nil //nolint:nilerr // it is a finding of the body, and reading goes on
	}
	c.out = append(c.out, raw...)
	return nil
}

// goType returns the Go type of a schema, as expected takes it.
func goType(schema *huma.Schema) string {
	switch schema.Type {
	case huma.TypeInteger:
		return cmp.Or(schema.Format, "int64")
	case huma.TypeNumber:
		return "float64"
	case huma.TypeBoolean:
		return "bool"
	case huma.TypeString:
		return "string"
	case huma.TypeArray:
		return "[]"
	}
	return schema.Type
}

// unknown adds a finding for a name that the schema does not have. It does not
// look at the name once the findings are full, because a body may have very
// many.
func (c *cleaner) unknown(location, name string, schema *huma.Schema) {
	if c.found.full() {
		c.found.more++
		return
	}
	c.found.add(location+"."+shownName(name), "%s", unknownName(name, slices.Sorted(maps.Keys(schema.Properties))))
}

const unfit = "the request does not fit this operation, see errors and /docs"

func notJSON(location, format string, args ...any) *huma.ErrorModel {
	refused := refuse(http.StatusBadRequest, location, format, args...)
	refused.Detail = "the body is not JSON, see errors"
	return refused
}

// syntax converts a decoder error to a message for the caller. It quotes at
// most one character of the body.
func (c *cleaner) syntax(err error) *huma.ErrorModel {
	var broken *jsontext.SyntacticError
	if !errors.As(err, &broken) {
		return notJSON("body", "is missing: send a JSON object") // the body has only blanks
	}
	location, depth := "body", 0
	for token := range broken.JSONPointer.Tokens() {
		if depth++; depth > maxDepthShown {
			location += "…"
			break
		}
		if _, err := strconv.Atoi(token); err == nil {
			location += "[" + token + "]"
		} else {
			location += "." + shownName(token)
		}
	}
	reason := broken.Err.Error()
	switch {
	case errors.Is(broken.Err, io.ErrUnexpectedEOF):
		reason = "ends before its JSON value does"
	case strings.Contains(reason, "surrogate"):
		reason = `has half a pair of surrogates: \ud800 to \udfff stand for a character only in pairs`
	case strings.Contains(reason, "UTF-8"):
		reason = "is not UTF-8: send it in UTF-8"
	case strings.HasPrefix(reason, "invalid character"):
		reason = "is not JSON: " + text.Cut(reason, 2*maxName)
	default:
		reason = "is not JSON: an escape sequence is wrong, or it is nested too deep"
	}
	return notJSON(location, "%s, at byte %d of the body", reason, broken.ByteOffset)
}
