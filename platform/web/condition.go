package web

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"millrace/platform/errs"
)

// IfMatch is embedded in the input of an operation that changes an existing
// thing: the change is made only if the thing is still as the caller saw it.
//
// The header follows RFC 9110, section 13.1.1. "*" matches any existing thing.
// A list of entity tags matches if one of them equals the thing's current ETag
// by strong comparison, so weak tags never match. Several header lines form one
// list. Any other value is refused with 400. Without the header there is no
// condition.
//
// A field ExpectedStatus with the tag query:"expectedStatus" is a condition on
// the status; its module lists the statuses. An empty or repeated value is
// refused with 422, because a typing error must not turn into "no condition".
type IfMatch struct {
	// Header appears in the API description; Resolve reads all header lines.
	Header string `header:"If-Match" doc:"Make the change only if the ETag is still one of these, or, for *, if there is such a thing at all; otherwise 412, with the present state in current" example:"\"7\""`

	given bool
	any   bool
	tags  []string // strong tags, with their quotes
}

// ETag returns the strong entity tag of a version; "" for version 0, which
// means that the thing does not exist.
func ETag(version int64) string {
	if version == 0 {
		return ""
	}
	return strconv.Quote(strconv.FormatInt(version, 10))
}

// Resolve parses the condition. Package huma calls it.
func (m *IfMatch) Resolve(ctx huma.Context) []error {
	var lines []string
	ctx.EachHeader(func(name, value string) {
		if strings.EqualFold(name, "If-Match") {
			lines = append(lines, value)
		}
	})
	var faults []error
	if m.given = len(lines) > 0; m.given {
		var ok bool
		if m.any, m.tags, ok = parseIfMatch(strings.Join(lines, ",")); !ok {
			faults = append(faults, malformed{&huma.ErrorDetail{Location: "header.If-Match",
				Message: `must be * or a list of entity tags in their quotes, as the header ETag of an answer has them: "7"`}})
		}
	}
	address := ctx.URL()
	if expected, given := address.Query()["expectedStatus"]; given && (len(expected) != 1 || expected[0] == "") {
		faults = append(faults, &huma.ErrorDetail{Location: "query.expectedStatus", Message: "must be given once, with one status"})
	}
	return faults
}

// malformed is a finding that is answered with 400.
type malformed struct{ detail *huma.ErrorDetail }

func (m malformed) Error() string                  { return m.detail.Error() }
func (m malformed) ErrorDetail() *huma.ErrorDetail { return m.detail }
func (malformed) GetStatus() int                   { return http.StatusBadRequest }

// Expect returns a function that checks the caller's conditions. Call it under
// the thing's lock before changing anything. status is the expected status; ""
// means any. A failed If-Match is 412, a failed status 409; both errors contain
// the current state.
func (m IfMatch) Expect(status string) func(now errs.State) error {
	return func(now errs.State) error {
		switch {
		case m.given && !m.matches(now.Version):
			return &errs.Error{Kind: errs.Stale, Field: "If-Match", Msg: "does not match: " + sentence(now), Now: &now}
		case status != "" && status != now.Status:
			return &errs.Error{Kind: errs.Conflict, Field: "expectedStatus", Msg: "is not what it is now: " + sentence(now), Now: &now}
		}
		return nil
	}
}

func (m IfMatch) matches(version int64) bool {
	if version == 0 { // the thing does not exist
		return false
	}
	if m.any {
		return true
	}
	for _, tag := range m.tags {
		if tag == ETag(version) {
			return true
		}
	}
	return false
}

func sentence(now errs.State) string {
	switch {
	case now.Version == 0:
		return "there is nothing yet"
	case now.Status == "":
		return "the version is " + ETag(now.Version) + " now"
	}
	return "it is " + now.Status + ", version " + ETag(now.Version) + ", now"
}

// parseIfMatch parses "*" or a list of entity tags. It skips weak tags, which
// never match in strong comparison. Empty list elements are allowed, as RFC
// 9110, section 5.6.1, requires.
func parseIfMatch(value string) (anything bool, tags []string, ok bool) {
	rest := strings.Trim(value, " \t")
	if rest == "*" {
		return true, nil, true
	}
	for rest != "" {
		if rest[0] == ',' {
			rest = strings.TrimLeft(rest[1:], " \t")
			continue
		}
		body, weak := strings.CutPrefix(rest, "W/")
		end := tagEnd(body)
		if end < 0 {
			return false, nil, false
		}
		if !weak {
			tags = append(tags, body[:end])
		}
		if rest = strings.TrimLeft(body[end:], " \t"); rest != "" && rest[0] != ',' {
			return false, nil, false
		}
	}
	return false, tags, true
}

// tagEnd returns the end of the quoted tag at the start of s, or -1.
func tagEnd(s string) int {
	if s == "" || s[0] != '"' {
		return -1
	}
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return i + 1
		case c < 0x21 || c == 0x7f: // etagc: no space, no control character
			return -1
		}
	}
	return -1
}

// refused is a problem that contains the thing's current state.
type refused struct {
	*huma.ErrorModel
	Current errs.State `json:"current"`
}
