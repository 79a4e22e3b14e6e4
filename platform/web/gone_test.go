package web_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/stretchr/testify/require"

	"millrace/platform/web"
)

// lockedBuffer is a log that may be read while the server writes.
type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}

// A client that goes away before it has read its answer is not a fault of the
// program: one line, and no stack.
func TestHandler_LogsAClientThatWentAwayAsOneLine(t *testing.T) {
	t.Parallel()
	log := &lockedBuffer{}
	logger := slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	mux := http.NewServeMux()
	gone, done := make(chan struct{}), make(chan struct{})
	web.Handle(web.NewAPI(mux, "test", logger), huma.Operation{OperationID: "big", Method: http.MethodGet, Path: "/big"},
		func(context.Context, *struct{}) (*struct{ Body string }, error) {
			<-gone
			return &struct{ Body string }{strings.Repeat("x", 64<<20)}, nil
		})
	handler := web.Handler(mux, logger, nil)
	server, err := web.Listen("127.0.0.1:0", "http.address", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(done)
		handler.ServeHTTP(w, r.WithContext(context.WithoutCancel(r.Context())))
	}), nil, logger)
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- server.Serve() }()
	defer func() { require.NoError(t, <-served) }()
	defer func() { require.NoError(t, server.Shutdown(context.Background())) }()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", server.Address())
	require.NoError(t, err)
	_, err = io.WriteString(c, "GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n")
	require.NoError(t, err)
	require.NoError(t, c.(*net.TCPConn).SetLinger(0))
	require.NoError(t, c.Close())
	close(gone)
	<-done
	require.Contains(t, log.String(), `"msg":"client went away"`)
	require.Contains(t, log.String(), `"route":"GET /big"`)
	require.NotContains(t, log.String(), "panic")
	require.NotContains(t, log.String(), `"level":"ERROR"`)
	require.Equal(t, 1, strings.Count(log.String(), "\n"), log.String())
}

// A panic stays one, whatever its error is.
func TestHandler_LogsAPanicWithANetworkErrorAsPanic(t *testing.T) {
	t.Parallel()
	log := &lockedBuffer{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /panic", func(http.ResponseWriter, *http.Request) { panic(net.ErrClosed) })
	handler := web.Handler(mux, slog.New(slog.NewJSONHandler(log, nil)), nil)
	server, err := web.Listen("127.0.0.1:0", "http.address", handler, nil, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- server.Serve() }()
	defer func() { require.NoError(t, <-served) }()
	defer func() { require.NoError(t, server.Shutdown(context.Background())) }()
	response, err := client.Get(server.URL() + "/panic")
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusInternalServerError, response.StatusCode)
	require.Contains(t, log.String(), "request panicked")
}
