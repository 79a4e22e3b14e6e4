package web_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"
	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"millrace/platform/correlation"
	"millrace/platform/errs"
	"millrace/platform/web"
)

type payInput struct {
	ID  string `path:"id" maxLength:"20"`
	Key string `header:"Idempotency-Key"`

	Body struct {
		Amount   int64  `json:"amount" minimum:"1"`
		Currency string `json:"currency" minLength:"3" maxLength:"3"`
		Card     string `json:"card,omitempty" maxLength:"19"`
	}
}

type payOutput struct {
	Body struct {
		Correlation string `json:"correlation"`
	}
}

// serve creates an API with one operation that returns err. send sends a
// request to it.
func serve(t *testing.T, err error) (send func(body string, headers ...string) *httptest.ResponseRecorder, log *bytes.Buffer) {
	t.Helper()
	log = &bytes.Buffer{}
	logger := slog.New(slog.NewJSONHandler(log, nil))
	mux := http.NewServeMux()
	api := web.NewAPI(mux, "test", logger)
	web.Handle(api, huma.Operation{OperationID: "pay", Method: http.MethodPost, Path: "/pay/{id}", MaxBodyBytes: 200},
		func(ctx context.Context, _ *payInput) (*payOutput, error) {
			if err != nil {
				return nil, err
			}
			out := &payOutput{}
			out.Body.Correlation = correlation.From(ctx)
			return out, nil
		})
	mux.HandleFunc("GET /contacts/{id}", func(http.ResponseWriter, *http.Request) { panic(payInput{ID: "canary-user"}) })
	mux.HandleFunc("GET /panic", func(http.ResponseWriter, *http.Request) { panic("canary-panic") })
	handler := web.Handler(mux, logger, nil)
	return func(body string, headers ...string) *httptest.ResponseRecorder {
		method, path := http.MethodPost, "/pay/goods-1"
		if rest, ok := strings.CutPrefix(body, "GET "); ok {
			method, path, body = http.MethodGet, rest, ""
		}
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		for _, h := range headers {
			name, value, _ := strings.Cut(h, ": ")
			r.Header.Set(name, value)
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w
	}, log
}

const good = `{"amount":100,"currency":"KRW"}`

func problem(t *testing.T, w *httptest.ResponseRecorder, status int) huma.ErrorModel {
	t.Helper()
	require.Equal(t, status, w.Code, w.Body.String())
	require.Equal(t, "application/problem+json", w.Header().Get("Content-Type"))
	var p huma.ErrorModel
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &p))
	require.Equal(t, status, p.Status)
	require.Equal(t, http.StatusText(status), p.Title)
	require.Equal(t, "urn:uuid:"+w.Header().Get("X-Request-Id"), p.Instance)
	return p
}

// A client that disconnects during a request is not an error.
func TestHandle_ClientDisconnectIsNotLoggedAsError(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]string{
		fmt.Errorf("commit: %w", context.Canceled): `"level":"INFO"`,
		errs.New(errs.Resource, "away"):            `"level":"ERROR"`,
	} {
		send, log := serve(t, err)
		require.Equal(t, http.StatusServiceUnavailable, send(good).Code)
		require.Contains(t, log.String(), want, "%v", err)
	}
}

func TestHandle_StatusFollowsErrorKind(t *testing.T) {
	t.Parallel()
	for _, kind := range errs.Kinds() {
		send, _ := serve(t, errs.New(kind, "canary-text"))
		p := problem(t, send(good), kind.HTTPStatus())
		require.Equal(t, kind.HTTPStatus() < 500, strings.Contains(p.Detail, "canary-text"), "%s: %s", kind, p.Detail)
	}
}

func TestHandle_ErrorNamesFieldAndLocation(t *testing.T) {
	t.Parallel()
	for field, location := range map[string]string{
		"amount": "body.amount", "id": "path.id", "idempotency-key": "header.Idempotency-Key", "body.items[1].sku": "body.items[1].sku",
	} {
		send, _ := serve(t, fmt.Errorf("pay: %w", errs.InvalidField(field, "must be less than %d", 10)))
		p := problem(t, send(good), http.StatusUnprocessableEntity)
		require.Len(t, p.Errors, 1)
		require.Equal(t, location, p.Errors[0].Location)
		require.Equal(t, "must be less than 10", p.Errors[0].Message)
	}
}

func TestHandle_NamesEveryInvalidField(t *testing.T) {
	t.Parallel()
	send, _ := serve(t, errors.Join(errs.InvalidField("amount", "too much"), errs.InvalidField("currency", "not known")))
	p := problem(t, send(good), http.StatusUnprocessableEntity)
	require.Len(t, p.Errors, 2)

	send, _ = serve(t, nil)
	p = problem(t, send(`{"amount":0,"currency":"KRWX","colour":1}`), http.StatusUnprocessableEntity)
	require.Len(t, p.Errors, 3)
}

func TestHandle_UnknownErrorIsLoggedAndNotShown(t *testing.T) {
	t.Parallel()
	send, log := serve(t, errors.New("canary-secret"))
	w := send(good)
	problem(t, w, http.StatusInternalServerError)
	require.NotContains(t, w.Body.String(), "canary-secret")
	require.Contains(t, log.String(), "canary-secret")
	require.Contains(t, log.String(), w.Header().Get("X-Request-Id"))
}

func TestHandle_HidesDatabaseErrors(t *testing.T) {
	t.Parallel()
	duplicate := &pq.Error{Code: "23505", Message: "canary-row"}
	for _, err := range []error{duplicate, errs.As(errs.Conflict, duplicate), errs.New(errs.Invalid, "store: %w", duplicate)} {
		send, _ := serve(t, err)
		require.NotContains(t, send(good).Body.String(), "canary-row")
	}
}

func TestHandle_TransientErrorHasRetryAfter(t *testing.T) {
	t.Parallel()
	send, _ := serve(t, errs.New(errs.Resource, "database away"))
	w := send(good)
	problem(t, w, http.StatusServiceUnavailable)
	require.Equal(t, "1", w.Header().Get("Retry-After"))
}

func TestBody_MissingFieldIsNamed(t *testing.T) {
	t.Parallel()
	send, _ := serve(t, nil)
	p := problem(t, send(`{"amount":1}`), http.StatusUnprocessableEntity)
	require.Len(t, p.Errors, 1)
	require.Equal(t, "body.currency", p.Errors[0].Location)
	require.Equal(t, "is required", p.Errors[0].Message)
}

func TestHandle_ErrorsDoNotQuoteValues(t *testing.T) {
	t.Parallel()
	send, log := serve(t, nil)
	w := send(`{"amount":1,"currency":"KRW","card":"4111-1111-1111-1111-canary"}`)
	problem(t, w, http.StatusUnprocessableEntity)
	require.NotContains(t, w.Body.String(), "canary")
	w = send(`{"card":"canary"`)
	problem(t, w, http.StatusBadRequest)
	require.NotContains(t, w.Body.String(), "canary")
	require.NotContains(t, log.String(), "canary")
}

func TestBody_RejectsNonJSON(t *testing.T) {
	t.Parallel()
	send, _ := serve(t, nil)
	for _, body := range []string{"", "{", "amount=1", "\xff\xfe", `{"amount":1}{"amount":2}`} {
		problem(t, send(body), http.StatusBadRequest)
	}
	p := problem(t, send(good, "Content-Type: text/plain"), http.StatusUnsupportedMediaType)
	require.Equal(t, "header.Content-Type", p.Errors[0].Location)
}

func TestBody_TypeErrorsDoNotNameGoTypes(t *testing.T) {
	t.Parallel()
	send, _ := serve(t, nil)
	for _, number := range []string{"9223372036854775808", "1e30", "1e2"} {
		p := problem(t, send(`{"amount":`+number+`,"currency":"KRW"}`), http.StatusUnprocessableEntity)
		require.Len(t, p.Errors, 1)
		require.Equal(t, "body.amount", p.Errors[0].Location)
		require.Equal(t, "must be a whole number between -9223372036854775808 and 9223372036854775807, in digits only", p.Errors[0].Message)
	}

	var result struct {
		Amount int64 `json:"amount"`
	}
	for body, detail := range map[string]string{
		`[]`:            "the body is not a callback: it must be of another JSON type, see /docs",
		`{"amount":""}`: "the body is not a callback: amount must be a whole number between -9223372036854775808 and 9223372036854775807, in digits only",
	} {
		send, _ := serve(t, errs.New(errs.Undecodable, "the body is not a callback: %w", json.Unmarshal([]byte(body), &result)))
		require.Equal(t, detail, problem(t, send(good), http.StatusBadRequest).Detail)
	}
}

func TestHandler_RedirectIsNotAProblem(t *testing.T) {
	t.Parallel()
	send, _ := serve(t, nil)
	w := send("GET /nowhere//etc/passwd")
	require.Equal(t, http.StatusTemporaryRedirect, w.Code)
	require.Equal(t, "/nowhere/etc/passwd", w.Header().Get("Location"))
	require.Equal(t, "text/html; charset=utf-8", w.Header().Get("Content-Type"))
	require.NotContains(t, w.Body.String(), "about:blank")
}

func TestPath_DotSegmentIsTreatedAsID(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /contacts/{id}", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.PathValue("id")) })
	h := web.Handler(mux, slog.New(slog.DiscardHandler), nil)
	for path, want := range map[string]string{
		"/contacts/..": "..", "/contacts/%2e%2E": "..", "/contacts/.": ".", "/contacts/%2e": ".", "/contacts/.%2e": "..",
		"/contacts/a%2Fb": "a/b", "/contacts/..%2f..": "../..", "/contacts/kim.": "kim.",
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		require.Equal(t, http.StatusOK, w.Code, path)
		require.Equal(t, want, w.Body.String(), path)
	}
	for _, path := range []string{"/contacts/../contacts/1", "/./contacts/1", "/contacts/a/..", "/.."} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		problem(t, w, http.StatusNotFound)
	}
}

func TestBody_OverOperationsLimitIsRejected(t *testing.T) {
	t.Parallel()
	send, _ := serve(t, nil)
	fit := good + strings.Repeat(" ", 200-len(good))
	require.Equal(t, http.StatusOK, send(fit).Code)
	for body, limit := range map[string]int{fit + " ": 200, strings.Repeat("x", web.MaxBody): 200, strings.Repeat("x", web.MaxBody+1): web.MaxBody} {
		p := problem(t, send(body), http.StatusRequestEntityTooLarge)
		require.Equal(t, fmt.Sprintf("the body is larger than %d bytes", limit), p.Detail)
	}
}

func TestRequestID_IsCorrelationIDOfMessages(t *testing.T) {
	t.Parallel()
	send, _ := serve(t, nil)
	id := uuid.NewString()
	w := send(good, "X-Request-Id: "+id)
	require.Equal(t, id, w.Header().Get("X-Request-Id"))
	require.JSONEq(t, `{"correlation":"`+id+`"}`, w.Body.String())

	w = send(good, "X-Request-Id: hong@example.com") // replaced: the ID stays with the messages permanently
	require.NoError(t, uuid.Validate(w.Header().Get("X-Request-Id")))
}

func TestHandler_PanicIsAnsweredAndLogged(t *testing.T) {
	t.Parallel()
	send, log := serve(t, nil)
	w := send("GET /panic")
	problem(t, w, http.StatusInternalServerError)
	require.NotContains(t, w.Body.String(), "canary-panic")
	require.Contains(t, log.String(), "canary-panic")
}

func TestHandler_PanicLogHasRouteAndNoRequestData(t *testing.T) {
	t.Parallel()
	send, log := serve(t, nil)
	problem(t, send("GET /contacts/canary-user?name=canary-user"), http.StatusInternalServerError)
	require.Contains(t, log.String(), `"route":"GET /contacts/{id}"`)
	require.Contains(t, log.String(), `"panic":"a value of type web_test.payInput"`)
	require.Contains(t, log.String(), "web_test.go")
	require.NotContains(t, log.String(), "canary")
}

func TestHandle_LogMasksPersonalData(t *testing.T) {
	t.Parallel()
	send, log := serve(t, errs.New(errs.Unknown, "no mailbox kim@example.com, card 4111 1111 1111 1111"))
	problem(t, send(good), http.StatusInternalServerError)
	require.Contains(t, log.String(), "no mailbox ***@***, card ***")
}

func TestHandler_UnknownPathOrMethodIsAProblem(t *testing.T) {
	t.Parallel()
	send, _ := serve(t, nil)
	problem(t, send("GET /nowhere"), http.StatusNotFound)
	w := send("GET /pay/1")
	problem(t, w, http.StatusMethodNotAllowed)
	require.Contains(t, w.Header().Get("Allow"), http.MethodPost)
}

func TestHandler_RejectsCrossSiteRequests(t *testing.T) {
	t.Parallel()
	send, _ := serve(t, nil)
	problem(t, send(good, "Sec-Fetch-Site: cross-site"), http.StatusForbidden)
	problem(t, send(good, "Origin: https://evil.example"), http.StatusForbidden)
	require.Equal(t, http.StatusOK, send(good, "Sec-Fetch-Site: same-origin").Code)
	require.Equal(t, http.StatusOK, send(good).Code, "a call without a browser's headers passes")
}

func TestHandler_SetsSecurityHeadersOnEveryAnswer(t *testing.T) {
	t.Parallel()
	send, _ := serve(t, nil)
	for _, request := range []string{good, "{", "GET /docs", "GET /nowhere", "GET /panic"} {
		h := send(request).Header()
		require.Equal(t, "nosniff", h.Get("X-Content-Type-Options"))
		require.Equal(t, "DENY", h.Get("X-Frame-Options"))
		require.Contains(t, h.Get("Content-Security-Policy"), "script-src 'self';")
		require.NotContains(t, h.Get("Content-Security-Policy"), "unsafe")
	}
}

func TestAPI_DescriptionIsOpenAPI31(t *testing.T) {
	t.Parallel()
	send, _ := serve(t, nil)
	w := send("GET /openapi.json")
	require.Equal(t, http.StatusOK, w.Code)
	var description struct {
		OpenAPI string         `json:"openapi"`
		Paths   map[string]any `json:"paths"`
	}
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &description))
	require.True(t, strings.HasPrefix(description.OpenAPI, "3.1"))
	require.Contains(t, description.Paths, "/pay/{id}")
}

func TestDocs_LoadNothingFromOtherServers(t *testing.T) {
	t.Parallel()
	send, _ := serve(t, nil)
	page := send("GET /docs").Body.String()
	require.NotContains(t, page, "http:")
	require.NotContains(t, page, "https:")
	require.NotContains(t, page, "<script>", "inline script")
	for _, part := range []string{"/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js", "/docs/start.js"} {
		require.Contains(t, page, part)
		w := send("GET "+part, "Accept-Encoding: gzip")
		require.Equal(t, http.StatusOK, w.Code, part)
		body, err := io.ReadAll(w.Body)
		require.NoError(t, err)
		require.NotEmpty(t, body)
	}
}

func TestAPI_ModulesMayUseSameTypeName(t *testing.T) {
	t.Parallel()
	api := web.NewAPI(http.NewServeMux(), "test", slog.New(slog.DiscardHandler))
	type out struct{ Body huma.Schema }
	type other struct{ Body struct{ One Schema } }
	web.Handle(api, huma.Operation{OperationID: "a", Method: http.MethodGet, Path: "/a"},
		func(context.Context, *struct{}) (*out, error) { return nil, nil })
	web.Handle(api, huma.Operation{OperationID: "b", Method: http.MethodGet, Path: "/b"},
		func(context.Context, *struct{}) (*other, error) { return nil, nil })
	require.Contains(t, api.OpenAPI().Components.Schemas.Map(), "Web_testSchema")
}

// Schema has the same name as a type in another package.
type Schema struct {
	Name string `json:"name"`
}
