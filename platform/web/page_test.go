package web_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/stretchr/testify/require"

	"millrace/platform/web"
)

type numbersInput struct {
	web.Page
	Of string `query:"of" maxLength:"20"`
}

type numbersView struct {
	Numbers []int  `json:"numbers"`
	Next    string `json:"next,omitempty"`
}

type numbersOutput struct {
	Link string `header:"Link"`
	Body numbersView
}

// numbers serves the numbers up to last, newest first. The returned function
// reads one page.
func numbers(t *testing.T, last *int) func(query string) (*httptest.ResponseRecorder, numbersView) {
	t.Helper()
	mux, log := http.NewServeMux(), slog.New(slog.DiscardHandler)
	web.Handle(web.NewAPI(mux, "test", log), huma.Operation{OperationID: "numbers", Method: http.MethodGet, Path: "/numbers"},
		func(_ context.Context, in *numbersInput) (*numbersOutput, error) {
			before, err := web.Behind(in.Page, "numbers of "+in.Of, *last+1)
			if err != nil {
				return nil, err
			}
			var found []int
			for n := before - 1; n > 0 && len(found) < in.Fetch(); n-- {
				found = append(found, n)
			}
			shown, next := web.Cut(in.Page, "numbers of "+in.Of, found, func(n int) int { return n })
			return &numbersOutput{Link: next.Link, Body: numbersView{Numbers: shown, Next: next.Cursor}}, nil
		})
	handler := web.Handler(mux, log, nil)
	return func(query string) (*httptest.ResponseRecorder, numbersView) {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/numbers"+query, nil))
		var view numbersView
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &view))
		return w, view
	}
}

func TestPage_LinksCoverEveryEntryOnce(t *testing.T) {
	t.Parallel()
	for _, total := range []int{0, 1, 9, 10, 11, 20, 25} {
		last := total
		read := numbers(t, &last)
		var all []int
		query := "?limit=10&of=a%26b"
		for query != "" {
			w, page := read(query)
			require.Equal(t, http.StatusOK, w.Code, w.Body)
			require.LessOrEqual(t, len(page.Numbers), 10)
			all = append(all, page.Numbers...)
			link := w.Header().Get("Link")
			require.Equal(t, page.Next != "", link != "")
			query, _, _ = strings.Cut(strings.TrimPrefix(link, "<"), ">")
			last++ // a new entry between two pages
		}
		require.Len(t, all, total)
		for i, n := range all {
			require.Equal(t, total-i, n)
		}
	}
}

func TestPage_RejectsInvalidCursorsAndLimits(t *testing.T) {
	t.Parallel()
	last := 100
	read := numbers(t, &last)
	_, page := read("?limit=10&of=a")
	forged := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	var whole struct {
		S string          `json:"s"`
		K json.RawMessage `json:"k"`
	}
	text, err := base64.RawURLEncoding.DecodeString(page.Next)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &whole))
	for _, cursor := range []string{
		"x", "0", "-1", "null", page.Next + "A", page.Next[:len(page.Next)-3], page.Next + "%3D", page.Next + "%0A", strings.ToUpper(page.Next), forged("{}"), forged("null"), forged("[]"), forged(`{"s":"` + whole.S + `","k":"91"}`),
		forged(`{"s":"` + whole.S + `","k":1e99}`), forged(`{"s":"` + whole.S + `","k":91,"x":1}`), forged(`{"s":"` + whole.S + `","k":91}{}`), strings.Repeat("A", 501), "%00", "%ff",
	} {
		w, _ := read("?limit=10&of=a&cursor=" + cursor)
		p := problem(t, w, http.StatusUnprocessableEntity)
		require.Equal(t, "query.cursor", p.Errors[0].Location, cursor)
	}
	w, _ := read("?of=b&cursor=" + page.Next)
	require.Equal(t, "query.cursor", problem(t, w, http.StatusUnprocessableEntity).Errors[0].Location, "of another list")
	for _, limit := range []string{"0", "-1", "201", "1.5", "ten", "99999999999999999999"} {
		w, _ := read("?limit=" + limit)
		require.Equal(t, "query.limit", problem(t, w, http.StatusUnprocessableEntity).Errors[0].Location, limit)
	}
	_, page = read("")
	require.Len(t, page.Numbers, 100)
	_, page = read("?limit=1&cursor=")
	require.Equal(t, []int{100}, page.Numbers)
}

func TestNewest_ReversesOrderAndReportsOlderEntries(t *testing.T) {
	t.Parallel()
	for count, want := range map[int]string{0: "[] false", 2: "[1 2] false", 101: "true"} {
		var found []int
		for n := count; n > 0; n-- {
			found = append(found, n)
		}
		shown, more := web.Newest(found)
		require.Contains(t, fmt.Sprint(shown, " ", more), want)
		require.LessOrEqual(t, len(shown), web.MaxNested)
	}
}
