package web

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"millrace/platform/errs"
)

// MaxNested is how many entries of a nested list are returned: the newest. The
// answer shows which lists have more ([Newest]).
const MaxNested = 100

// Page is embedded in the input of an operation that lists entries, newest
// first, one page at a time. A page contains the entries after the key in its
// cursor, so entries added between two pages cause neither duplicates nor gaps.
//
//	key, err := web.Behind(in.Page, scope, newest)  // newest is a key before the first entry
//	found, err := …                                 // WHERE k < key ORDER BY k DESC LIMIT in.Page.Fetch()
//	shown, next := web.Cut(in.Page, scope, found, keyOf)
//
// scope names the list and its subject ("notifications of goods-17"). A cursor
// of another list, or a modified one, is refused with 422. A cursor contains no
// secret and does not expire.
type Page struct {
	Limit  int    `query:"limit" default:"100" minimum:"1" maximum:"200" doc:"At most so many entries"`
	Cursor string `query:"cursor" maxLength:"500" doc:"Where the page begins: next of the answer before. Without it, the newest entries"`

	query url.Values
}

// Resolve stores the query for the link to the next page. Package huma calls
// it.
func (p *Page) Resolve(ctx huma.Context) []error {
	address := ctx.URL()
	p.query = address.Query()
	return nil
}

// Fetch returns how many entries to read: one more than the page shows, to find
// out whether there is a next page.
func (p Page) Fetch() int { return p.Limit + 1 }

// Next is the start of the next page. Both fields are empty on the last page.
type Next struct {
	Cursor string // for the member next of the body
	Link   string // for the header Link (RFC 8288): <?…>; rel="next"
}

// cursor is a decoded cursor: the list's scope and the key of the last entry
// shown.
type cursor[K any] struct {
	Scope string `json:"s"`
	Key   K      `json:"k"`
}

func (c cursor[K]) encoded() string {
	text, err := json.Marshal(c)
	if err != nil { // impossible: keys consist of numbers, strings and times
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// Behind returns the key after which the page starts, or first if there is no
// cursor.
func Behind[K any](p Page, scope string, first K) (K, error) {
	if p.Cursor == "" {
		return first, nil
	}
	var c cursor[K]
	text, err := base64.RawURLEncoding.DecodeString(p.Cursor)
	if err == nil {
		err = json.Unmarshal(text, &c)
	}
	if err != nil || c.Scope != short(scope) || c.encoded() != p.Cursor { // a cursor has exactly one encoding
		return first, errs.InvalidField("query.cursor", "is no cursor of this list: take the value of next as it is, or leave it out to begin with the newest")
	}
	return c.Key, nil
}

// Cut removes the entry beyond the page, if any, and returns the start of the
// next page.
func Cut[T, K any](p Page, scope string, found []T, key func(T) K) ([]T, Next) {
	if len(found) <= p.Limit {
		return found, Next{}
	}
	shown := found[:p.Limit]
	next := cursor[K]{Scope: short(scope), Key: key(shown[p.Limit-1])}.encoded()
	query := url.Values{}
	for name, values := range p.query {
		query[name] = values
	}
	query.Set("limit", strconv.Itoa(p.Limit))
	query.Set("cursor", next)
	return shown, Next{Cursor: next, Link: "<?" + query.Encode() + `>; rel="next"`}
}

// short returns a hash of a scope for a cursor.
func short(scope string) string {
	sum := sha256.Sum256([]byte(scope))
	return base64.RawURLEncoding.EncodeToString(sum[:6])
}

// Newest returns the entries of a nested list, oldest first, and whether there
// are older ones. found contains the newest entries, newest first, MaxNested +
// 1 at most.
func Newest[T any](found []T) (shown []T, more bool) {
	if more = len(found) > MaxNested; more {
		found = found[:MaxNested]
	}
	slices.Reverse(found)
	return found, more
}
