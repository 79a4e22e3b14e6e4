package web_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/stretchr/testify/require"

	"millrace/platform/web"
)

// connection records the current read deadline.
type connection struct {
	*httptest.ResponseRecorder
	deadline time.Time
	set      int
}

func (c *connection) SetReadDeadline(t time.Time) error {
	c.deadline = t
	c.set++
	return nil
}

// After a read deadline that outlasts the body, net/http cancels a longer
// request and every later one of its connection.
func TestBody_ReadDeadlineIsResetAfterBody(t *testing.T) {
	t.Parallel()
	mux, log := http.NewServeMux(), slog.New(slog.DiscardHandler)
	w := &connection{ResponseRecorder: httptest.NewRecorder()}
	called := false
	web.Handle(web.NewAPI(mux, "test", log), huma.Operation{OperationID: "book", Method: http.MethodPost, Path: "/books/{id}"},
		func(context.Context, *bookInput) (*bookOutput, error) {
			called = true
			require.Positive(t, w.set, "a deadline while the body arrives")
			require.Zero(t, w.deadline, "no deadline while the request is handled")
			return &bookOutput{Body: []byte("{}")}, nil
		})
	r := httptest.NewRequest(http.MethodPost, "/books/1", strings.NewReader(`{"name":"a"}`))
	r.Header.Set("Content-Type", "application/json")
	web.Handler(mux, log, nil).ServeHTTP(w, r)
	require.True(t, called, "%s", w.Body)
}
