package web_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/stretchr/testify/require"

	"millrace/platform/errs"
	"millrace/platform/web"
)

type conditionInput struct {
	web.IfMatch
	ExpectedStatus string `query:"expectedStatus" enum:"open,closed"`
}

// conditional serves one change of a thing and counts how often it was made.
func conditional(t *testing.T, now errs.State) (send func(query string, lines ...string) *httptest.ResponseRecorder, made *int) {
	t.Helper()
	made = new(int)
	mux := http.NewServeMux()
	api := web.NewAPI(mux, "test", slog.New(slog.DiscardHandler))
	web.Handle(api, huma.Operation{OperationID: "change", Method: http.MethodPut, Path: "/thing"},
		func(_ context.Context, in *conditionInput) (*struct{}, error) {
			if err := in.Expect(in.ExpectedStatus)(now); err != nil {
				return nil, err
			}
			*made++
			return nil, nil
		})
	handler := web.Handler(mux, slog.New(slog.DiscardHandler), nil)
	return func(query string, lines ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodPut, "/thing"+query, strings.NewReader(""))
		for _, line := range lines {
			r.Header.Add("if-match", line)
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w
	}, made
}

func TestIfMatch_FollowsRFC9110(t *testing.T) {
	t.Parallel()
	open := errs.State{Status: "open", Version: 7}
	for _, row := range []struct {
		name  string
		lines []string
		now   errs.State
		want  int
	}{
		{"None", nil, open, 204},
		{"TheTag", []string{`"7"`}, open, 204},
		{"Padded", []string{"  \t\"7\" \t "}, open, 204},
		{"Another", []string{`"8"`}, open, 412},
		{"LeadingZero", []string{`"07"`}, open, 412},
		{"EmptyTag", []string{`""`}, open, 412},
		{"List", []string{`"1", "7"`}, open, 204},
		{"ListWithoutSpaces", []string{`"1","7","9"`}, open, 204},
		{"ListOfOthers", []string{`"1","2"`}, open, 412},
		{"EmptyElements", []string{`,, "7" ,,`}, open, 204},
		{"OnlyCommas", []string{`, ,`}, open, 412},
		{"EmptyLine", []string{``}, open, 412},
		{"TwoLines", []string{`"1"`, `"7"`}, open, 204},
		{"Weak", []string{`W/"7"`}, open, 412},
		{"WeakAndStrong", []string{`W/"7", "7"`}, open, 204},
		{"CommaInATag", []string{`"7,8"`}, open, 412},
		{"BackslashInATag", []string{`"a\", "7"`}, open, 204},
		{"NonASCIITag", []string{"\"\xe9\", \"7\""}, open, 204},
		{"Star", []string{`*`}, open, 204},
		{"StarOfNothing", []string{`*`}, errs.State{}, 412},
		{"TagOfNothing", []string{`"0"`}, errs.State{}, 412},
		{"EmptyTagOfNothing", []string{`""`}, errs.State{}, 412},
		{"NoConditionOnNothing", nil, errs.State{}, 204},

		{"Unquoted", []string{`7`}, open, 400},
		{"Unclosed", []string{`"7`}, open, 400},
		{"SingleQuotes", []string{`'7'`}, open, 400},
		{"LowerCaseWeak", []string{`w/"7"`}, open, 400},
		{"WeakWithSpace", []string{`W/ "7"`}, open, 400},
		{"WeakAlone", []string{`W/`}, open, 400},
		{"NoComma", []string{`"6" "7"`}, open, 400},
		{"StarInAList", []string{`*, "7"`}, open, 400},
		{"TwoStars", []string{`*`, `*`}, open, 400},
		{"QuotedStar", []string{`"*"`}, open, 412},
		{"SpaceInATag", []string{`"7 "`}, open, 400},
		{"TextBehind", []string{`"7"x`}, open, 400},
		{"GoodThenBad", []string{`"7"`, `8`}, open, 400},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			send, made := conditional(t, row.now)
			answer := send("", row.lines...)
			require.Equal(t, row.want, answer.Code, "%s", answer.Body)
			require.Equal(t, row.want == 204, *made == 1)
			if row.want != 204 {
				require.Contains(t, answer.Body.String(), `"location":"header.If-Match"`)
				require.Equal(t, "application/problem+json", answer.Header().Get("Content-Type"))
			}
		})
	}
}

func TestIfMatch_RefusalContainsCurrentState(t *testing.T) {
	t.Parallel()
	send, made := conditional(t, errs.State{Status: "open", Version: 7})
	type problem struct {
		Type, Title, Detail, Instance string
		Status                        int
		Errors                        []struct{ Location, Message string }
		Current                       *errs.State
	}
	read := func(answer *httptest.ResponseRecorder) (p problem) {
		require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &p), "%s", answer.Body)
		require.Equal(t, answer.Code, p.Status)
		return p
	}
	stale := read(send("", `"6"`))
	require.Equal(t, 412, stale.Status)
	require.Equal(t, "Precondition Failed", stale.Title)
	require.Equal(t, "about:blank", stale.Type)
	require.NotEmpty(t, stale.Instance)
	require.Equal(t, `If-Match: does not match: it is open, version "7", now`, stale.Detail)
	require.Equal(t, &errs.State{Status: "open", Version: 7}, stale.Current)

	other := read(send("?expectedStatus=closed"))
	require.Equal(t, 409, other.Status)
	require.Equal(t, "query.expectedStatus", other.Errors[0].Location)
	require.Equal(t, &errs.State{Status: "open", Version: 7}, other.Current)

	for _, slip := range []string{"?expectedStatus=", "?expectedStatus=open&expectedStatus=open", "?expectedStatus=Open"} {
		refused := read(send(slip))
		require.Equal(t, 422, refused.Status, slip)
		require.Equal(t, "query.expectedStatus", refused.Errors[0].Location, slip)
	}
	require.Zero(t, *made)
	require.Equal(t, 204, send("?expectedStatus=open", `"7"`).Code)
	require.Equal(t, 400, send("?expectedStatus=closed", `7`).Code)
}
