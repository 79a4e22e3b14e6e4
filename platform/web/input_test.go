package web_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/stretchr/testify/require"

	"millrace/platform/web"
)

type bookInput struct {
	ID    string `path:"id" maxLength:"20"`
	Key   string `header:"Idempotency-Key" maxLength:"20"`
	Limit int    `query:"limit" minimum:"1" maximum:"100" default:"10"`
	Topic string `query:"topic" maxLength:"20"`
	Body  struct {
		Name   string     `json:"name" minLength:"1" maxLength:"5"`
		Amount int64      `json:"amount,omitempty" maximum:"9007199254740991"`
		Share  float64    `json:"share,omitempty"`
		Gift   bool       `json:"gift,omitempty"`
		Note   *string    `json:"note,omitempty" format:"multiline" maxLength:"10"`
		Kind   string     `json:"kind,omitempty" enum:"A,B"`
		At     *time.Time `json:"at,omitempty"`
		Tags   []string   `json:"tags,omitempty" nullable:"false"`
		Place  struct {
			City string `json:"city"`
		} `json:"place,omitempty" required:"false"`
	}
}

type bookOutput struct{ Body json.RawMessage }

// book serves one operation that returns its input's body; send sends a request
// to it.
func book(t *testing.T) (send func(route, body string, headers ...string) *httptest.ResponseRecorder, calls *int) {
	t.Helper()
	mux, log := http.NewServeMux(), slog.New(slog.DiscardHandler)
	calls = new(int)
	web.Handle(web.NewAPI(mux, "test", log), huma.Operation{OperationID: "book", Method: http.MethodPost, Path: "/books/{id}"},
		func(_ context.Context, in *bookInput) (*bookOutput, error) {
			*calls++
			body, err := json.Marshal(in.Body)
			return &bookOutput{Body: body}, err
		})
	handler := web.Handler(mux, log, nil)
	return func(path, body string, headers ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		for _, h := range headers {
			name, value, _ := strings.Cut(h, ": ")
			if strings.HasPrefix(name, "+") {
				r.Header.Add(name[1:], value)
			} else if r.Header.Del(name); value != "" {
				r.Header.Set(name, value)
			}
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w
	}, calls
}

func TestBody_InvalidJSONNamesLocation(t *testing.T) {
	t.Parallel()
	send, calls := book(t)
	for body, want := range map[string][2]string{
		"{\"name\":\"Kim\xff\"}":                    {"body.name", "UTF-8"},
		"{\"name\":\"\xc0\xaf\"}":                   {"body.name", "UTF-8"},
		"{\"name\":\"\xed\xa0\x80\"}":               {"body.name", "UTF-8"},
		"{\"place\":{\"city\":\"\xb1\xe8\"}}":       {"body.place.city", "UTF-8"},
		"{\"na\xffme\":\"Kim\"}":                    {"body", "UTF-8"},
		"{\"unknown\":\"\xff\"}":                    {"body.unknown", "UTF-8"},
		`{"name":"\ud800"}`:                         {"body.name", "surrogates"},
		`{"name":"a\udc00b"}`:                       {"body.name", "surrogates"},
		`{"name":"\udc00\ud800"}`:                   {"body.name", "surrogates"},
		`{"\ud83d":1}`:                              {"body", "surrogates"},
		`{"tags":["a","\ud800"]}`:                   {"body.tags[1]", "surrogates"},
		`{"name":"Kim"`:                             {"body", "ends before"},
		`{"name":"Kim",}`:                           {"body", "not JSON"},
		`{'name':'Kim'}`:                            {"body", "not JSON"},
		`{"name":"Kim"} {}`:                         {"body", "goes on"},
		`{"name":"Kim"}]`:                           {"body", "goes on"},
		`{"name":"Kim"}x`:                           {"body", "goes on"},
		`{"amount":01,"name":"Kim"}`:                {"body", "not JSON"},
		`{"amount":+1}`:                             {"body.amount", "not JSON"},
		`{"amount":NaN}`:                            {"body.amount", "not JSON"},
		"{\"name\":\"a\nb\"}":                       {"body.name", "not JSON"},
		`{"name":"\x41"}`:                           {"body.name", "not JSON"},
		"\uFEFF{\"name\":\"Kim\"}":                  {"body", "byte order mark"},
		"\xff\xfe{\x00}\x00":                        {"body", "UTF-16"},
		"{\x00\"\x00n\x00":                          {"body", "UTF-16"},
		"":                                          {"body", "missing"},
		" \n ":                                      {"body", "missing"},
		"name=Kim":                                  {"body", "not JSON"},
		`{"x":` + strings.Repeat("[", 30_000) + `}`: {"body", "not JSON"},
		`{"x":` + strings.Repeat(`{"a":`, 12_000) + `}`: {"body", "not JSON"},
	} {
		w := send("/books/1", body)
		p := problem(t, w, http.StatusBadRequest)
		require.Len(t, p.Errors, 1, "%.60q", body)
		require.Contains(t, p.Errors[0].Message, want[1], "%.60q", body)
		if want[1] != "not JSON" {
			require.Equal(t, want[0], p.Errors[0].Location, "%.60q", body)
		}
		require.Less(t, w.Body.Len(), 2000)
	}
	require.Zero(t, *calls)
}

func TestBody_RejectsUnknownAndDuplicateNames(t *testing.T) {
	t.Parallel()
	send, calls := book(t)
	for body, want := range map[string][2]string{
		`{"NAME":"Kim"}`:                                 {"body.NAME", "write name"},
		`{"name":"Kim","Name":"very long"}`:              {"body.Name", "write name"},
		`{"name":"Kim","name":"Lee"}`:                    {"body.name", "twice"},
		`{"name":"Kim","n\u0061me":"Lee"}`:               {"body.name", "twice"},
		`{"name":"Kim","place":{"CITY":"x"}}`:            {"body.place.CITY", "write city"},
		`{"name":"Kim","place":{"city":"a","city":"b"}}`: {"body.place.city", "twice"},
		`{"name":"Kim","ſhare":1}`:                       {"body.ſhare", "write share"}, // folds to s
		`{"name":"Kim","colour":"red"}`:                  {"body.colour", "leave it out"},
		`{"name":"Kim","a\u202eb":1}`:                    {`body.a\u202eb`, "leave it out"},
		`{"name":"Kim","":1}`:                            {"body.", "leave it out"},
	} {
		p := problem(t, send("/books/1", body), http.StatusUnprocessableEntity)
		require.Equal(t, want[0], p.Errors[0].Location, body)
		require.Contains(t, p.Errors[0].Message, want[1], body)
	}
	require.Zero(t, *calls)
}

func TestBody_RejectsValuesOfWrongType(t *testing.T) {
	t.Parallel()
	send, calls := book(t)
	for value, field := range map[string]string{
		`"amount":1.0`: "amount", `"amount":1e3`: "amount", `"amount":1e400`: "amount", `"amount":9223372036854775808`: "amount",
		`"amount":-9223372036854775809`: "amount", `"amount":"1"`: "amount", `"amount":true`: "amount", `"amount":null`: "amount", `"amount":[1]`: "amount",
		`"share":1e400`: "share", `"share":"1"`: "share", `"gift":1`: "gift", `"gift":"true"`: "gift", `"note":null`: "note", `"note":1`: "note",
		`"kind":"C"`: "kind", `"kind":"a"`: "kind", `"kind":" A"`: "kind", `"tags":"a"`: "tags", `"tags":[1]`: "tags[0]", `"tags":[null]`: "tags[0]", `"place":[]`: "place", `"place":{"city":{}}`: "place.city",
	} {
		p := problem(t, send("/books/1", `{"name":"Kim",`+value+`}`), http.StatusUnprocessableEntity)
		require.Len(t, p.Errors, 1, value)
		require.Equal(t, "body."+field, p.Errors[0].Location, value)
	}
	for _, body := range []string{`null`, `[]`, `1`, `"x"`, `true`} {
		p := problem(t, send("/books/1", body), http.StatusUnprocessableEntity)
		require.Equal(t, "body", p.Errors[0].Location, body)
	}
	p := problem(t, send("/books/1", `{"name":null}`), http.StatusUnprocessableEntity)
	require.Len(t, p.Errors, 1, "not also required")
	require.Zero(t, *calls)
	for _, value := range []string{`"amount":9007199254740991`, `"amount":-9223372036854775808`, `"amount":0`, `"share":1e3`, `"tags":[]`, `"gift":true`, `"place":{"city":"x"}`} {
		require.Equal(t, http.StatusOK, send("/books/1", `{"name":"Kim",`+value+`}`).Code, value)
	}
	require.Contains(t, send("/books/1", `{"name":"Kim","amount":-9007199254740993}`).Body.String(), "-9007199254740993", "no digit is lost")
	require.Contains(t, send("/books/1", `{"name":"Kim","amount":9007199254740992}`).Body.String(), "9007199254740991", "a limit in digits")
}

// An offset of 24 hours can be parsed but not marshalled, and caused a 500.
func TestBody_AcceptsOnlyRFC3339Times(t *testing.T) {
	t.Parallel()
	send, calls := book(t)
	for _, at := range []string{"2026-12-01T10:00:00Z", "2026-12-01T10:00:00.123456789Z", "2026-12-01T10:00:00+09:00", "2026-12-01T10:00:00-23:59", "0000-01-01T00:00:00Z"} {
		require.Equal(t, 200, send("/books/1", `{"name":"a","at":"`+at+`"}`).Code, at)
	}
	accepted := *calls
	for _, at := range []string{"2026-12-01T10:00:00+24:00", "2026-12-01T10:00:00-24:00", "2026-12-01T10:00:00+24:59", "2026-12-01T10:00:00+23:60",
		"2026-12-01T10:00:00,5Z", "2026-12-01T1:00:00Z", "2026-12-01T10:00:00+00:60", "2026-12-01", "2026-12-01T10:00:00", "2026-12-01 10:00:00Z",
		"2026-02-30T10:00:00Z", "2026-12-01T24:00:00Z", "2026-12-01T10:00:60Z", "2026-12-01t10:00:00z", "+2026-12-01T10:00:00Z", "today", ""} {
		answer := send("/books/1", `{"name":"a","at":"`+at+`"}`)
		require.Equal(t, 422, answer.Code, at)
		require.Contains(t, answer.Body.String(), `"body.at"`, at)
		require.Contains(t, answer.Body.String(), "RFC 3339", at)
	}
	require.Equal(t, accepted, *calls)
}

func TestBody_NormalizesTextBeforeLengthLimits(t *testing.T) {
	t.Parallel()
	send, _ := book(t)
	for body, want := range map[string]string{
		`{"name":"  김민준 "}`:                               `"name":"김민준"`,
		`{"name":"\u1112\u1161\u11ab\u1100\u1173\u11af"}`: `"name":"한글"`, // six characters before normalization
		`{"name":"Jose\u0301     "}`:                      `"name":"José"`,
		`{"name":"👍🏽"}`:                                   `"name":"👍🏽"`,
		`{"name":"\ud83d\udc4d"}`:                         `"name":"👍"`,
		`{"name":"Kim","note":"a\r\nb\t\n"}`:              `"note":"a\nb"`,
		`{"name":"Kim","note":"👨\u200d👩\u200d👧"}`:         `"note":"👨` + "\u200d👩\u200d👧",
		`{"name":"<a&b>"}`:                                `"name":"`,
	} {
		w := send("/books/1", body)
		require.Equal(t, http.StatusOK, w.Code, "%s: %s", body, w.Body)
		require.Contains(t, w.Body.String(), want, body)
	}
	for body, field := range map[string]string{
		`{"name":"K\u0000m"}`: "name", `{"name":"K\u200bm"}`: "name", `{"name":"\u202eKim"}`: "name", `{"name":"K\nm"}`: "name", `{"name":"   "}`: "name",
		`{"name":"\u3164"}`: "name", `{"name":"K\ue000"}`: "name", `{"name":"K\uffff"}`: "name", `{"name":"K\u001b[31m"}`: "name", `{"name":"김민준김민준"}`: "name",
		`{"name":"Kim","note":"\u200b\u200d"}`: "note", `{"name":"Kim","note":"a\u0007"}`: "note", `{"name":"Kim","note":"01234567890"}`: "note",
		`{"name":"Kim","tags":["a\u202e"]}`: "tags[0]", `{"name":"Kim","place":{"city":"\u2028x\u2028y"}}`: "place.city",
	} {
		p := problem(t, send("/books/1", body), http.StatusUnprocessableEntity)
		require.Len(t, p.Errors, 1, "%s: %v", body, p.Errors)
		require.Equal(t, "body."+field, p.Errors[0].Location, body)
	}
}

func TestBody_AcceptsOnlyJSONMediaTypes(t *testing.T) {
	t.Parallel()
	send, calls := book(t)
	const body = `{"name":"Kim"}`
	for _, header := range []string{
		"application/json", "Application/JSON", "APPLICATION/JSON; CHARSET=UTF-8", `application/json; charset="utf-8"`, "application/json;charset=utf8",
		"application/json; charset=utf-8; profile=x", "application/json;", "application/merge-patch+json", "application/vnd.shop+JSON",
	} {
		require.Equal(t, http.StatusOK, send("/books/1", body, "Content-Type: "+header).Code, header)
	}
	*calls = 0
	for _, headers := range [][]string{
		{"Content-Type: "}, {"Content-Type: text/json"}, {"Content-Type: text/plain"}, {"Content-Type: application/x-www-form-urlencoded"}, {"Content-Type: multipart/form-data; boundary=x"},
		{"Content-Type: application/json; charset=euc-kr"}, {"Content-Type: application/json; charset=utf-16"}, {"Content-Type: application/json; charset=iso-8859-1"},
		{"Content-Type: json"}, {"Content-Type: application/jsonp"}, {"Content-Type: +json"}, {"Content-Type: text/x+json"}, {"Content-Type: application/json, application/json"},
		{"+Content-Type: application/json"}, {"Content-Type: application/json; charset"}, {"Content-Type: */*"},
		{"Content-Encoding: gzip"}, {"Content-Encoding: br"}, {"Content-Encoding: identity, gzip"},
	} {
		p := problem(t, send("/books/1", body, headers...), http.StatusUnsupportedMediaType)
		require.Len(t, p.Errors, 1)
		name, _, _ := strings.Cut(strings.TrimPrefix(headers[0], "+"), ":")
		require.Equal(t, "header."+name, p.Errors[0].Location, headers)
	}
	require.Zero(t, *calls)
	require.Equal(t, http.StatusOK, send("/books/1", body, "Content-Encoding: Identity").Code)
	p := problem(t, send("/books/1", "", "Content-Type: "), http.StatusBadRequest)
	require.Contains(t, p.Detail, "Content-Type: application/json")
	for _, accept := range []string{"", "*/*", "Application/JSON", "text/html", "application/json;q=0.1", ",,;", "application/xml"} {
		w := send("/books/1", body, "Accept: "+accept)
		require.Equal(t, http.StatusOK, w.Code, accept)
		require.Equal(t, "application/json", w.Header().Get("Content-Type"), accept)
	}
}

func TestParameters_RejectInvalidTextAndRepetition(t *testing.T) {
	t.Parallel()
	send, calls := book(t)
	const body = `{"name":"Kim"}`
	for request, location := range map[string]string{
		"/books/a%ffb": "path.id", "/books/a%00b": "path.id", "/books/%e2%80%ae": "path.id",
		"/books/1?topic=%ff": "query.topic", "/books/1?topic=a%00": "query.topic", "/books/1?topic=a%E2%80%8Bb": "query.topic", "/books/1?topic=a&topic=b": "query.topic",
		"/books/1?Topic=a": "query.Topic", "/books/1?LIMIT=5": "query.LIMIT", "/books/1?limit=0": "query.limit", "/books/1?limit=1&limit=2": "query.limit",
		"/books/1?limit=x": "query.limit", "/books/1?limit=1e1": "query.limit", "/books/1?limit=%2B5": "query.limit", "/books/1?limit=05": "query.limit", "/books/1?limit=%D9%A1": "query.limit", "/books/1?limit=5.0": "query.limit", "/books/1?limit=1_0": "query.limit", "/books/1?limit=99999999999999999999": "query.limit", "/books/1?colour=red": "query.colour",
		"/books/1?%E2%80%AE=1": `query.\u202e`, "/books/1?topic=%zz": "query", "/books/1?topic=a;limit=5": "query",
	} {
		p := problem(t, send(request, body), http.StatusUnprocessableEntity)
		require.Len(t, p.Errors, 1, "%s: %v", request, p.Errors)
		require.Equal(t, location, p.Errors[0].Location, request)
	}
	for _, headers := range [][]string{
		{"Idempotency-Key: a\xffb"}, {"Idempotency-Key: a\u202eb"}, {"Idempotency-Key: a", "+Idempotency-Key: b"}, {"Idempotency-Key: " + strings.Repeat("k", 21)},
	} {
		p := problem(t, send("/books/1", body, headers...), http.StatusUnprocessableEntity)
		require.Len(t, p.Errors, 1)
		require.Equal(t, "header.Idempotency-Key", p.Errors[0].Location, headers)
	}
	require.Zero(t, *calls)
	for _, path := range []string{"/books/1?topic=%EA%B9%80&limit=5", "/books/%EA%B9%80", "/books/1?topic=a+b", "/books/1?"} {
		require.Equal(t, http.StatusOK, send(path, body, "Idempotency-Key: 주문-1").Code, path)
	}
}

func TestFindings_CombineBodyAndParameters(t *testing.T) {
	t.Parallel()
	send, _ := book(t)
	p := problem(t, send("/books/1?limit=0&LIMIT=1", `{"name":"Kim Min-jun","Amount":1,"kind":"C","note":"a\u0007"}`), http.StatusUnprocessableEntity)
	var at []string
	for _, e := range p.Errors {
		at = append(at, e.Location)
	}
	require.ElementsMatch(t, []string{"query.LIMIT", "query.limit", "body.Amount", "body.note", "body.name", "body.kind"}, at)
}

// A body with very many faults costs about as much memory as its length.
func TestFindings_LimitNumberAndMemory(t *testing.T) {
	send, calls := book(t) // not parallel: it measures allocations
	var body bytes.Buffer
	body.WriteString(`{"name":"Kim"`)
	for body.Len() < web.MaxBody-20 {
		body.WriteString(`,"` + string(rune('가'+body.Len()%1000)) + `":0`)
	}
	body.WriteString("}")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	w := send("/books/1", body.String())
	runtime.ReadMemStats(&after)
	p := problem(t, w, http.StatusUnprocessableEntity)
	require.Len(t, p.Errors, 20)
	require.Regexp(t, `the first 20 are shown, and \d{4} more were found`, p.Detail)
	require.Less(t, w.Body.Len(), 8<<10)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(2<<20))

	w = send("/books/1", `{"`+strings.Repeat("x", 60_000)+`":1}`)
	problem(t, w, http.StatusUnprocessableEntity)
	require.Less(t, w.Body.Len(), 2<<10, "a long name is cut")
	w = send("/books/1", `{"tags":[`+strings.Repeat("1,", 30_000)+`1],"name":"Kim"}`)
	require.Len(t, problem(t, w, http.StatusUnprocessableEntity).Errors, 20)
	require.Zero(t, *calls)
}

func TestBody_OversizedBodyIsNotRead(t *testing.T) {
	t.Parallel()
	send, calls := book(t)
	fit := `{"name":"Kim"}` + strings.Repeat(" ", web.MaxBody-14)
	require.Equal(t, http.StatusOK, send("/books/1", fit).Code)
	p := problem(t, send("/books/1", fit+" "), http.StatusRequestEntityTooLarge)
	require.Equal(t, "the body is larger than 65536 bytes", p.Detail)
	require.Equal(t, 1, *calls)
}

func FuzzBody(f *testing.F) {
	for _, body := range []string{`{"name":"Kim","amount":1}`, `{"name":"\ud83d\udc4d","tags":["a"],"place":{"city":"x"}}`, `{"name":1,"x":{"y":[]}}`, "{\"\xff\":1}"} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		send, calls := book(t)
		w := send("/books/1", body)
		var answer map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code >= 500 || (w.Code == 200) != (*calls == 1) {
			t.Fatalf("%q is answered %d %s", body, w.Code, w.Body)
		}
		if w.Code != 200 && len(answer["errors"].([]any)) == 0 {
			t.Fatalf("%q is refused without a place: %s", body, w.Body)
		}
	})
}
