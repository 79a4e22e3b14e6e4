package web_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/platform/errs"
	"millrace/platform/web"
)

var client = &http.Client{Timeout: time.Minute}

func TestListen_PortInUseNamesSetting(t *testing.T) {
	t.Parallel()
	first, err := web.Listen("127.0.0.1:0", "http.address", http.NotFoundHandler(), nil, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	defer func() { require.NoError(t, first.Shutdown(t.Context())) }()

	_, err = web.Listen(first.Address(), "http.address", http.NotFoundHandler(), nil, slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, first.Address()+" is in use")
	require.ErrorContains(t, err, "set http.address")
	require.Equal(t, errs.Resource, errs.KindOf(err))
}

func TestListen_InvalidAddressNamesSetting(t *testing.T) {
	t.Parallel()
	_, err := web.Listen("nowhere", "http.address", http.NotFoundHandler(), nil, slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "set http.address")
}

func TestServer_ShutdownWaitsForRequests(t *testing.T) {
	t.Parallel()
	arrived, finish := make(chan struct{}), make(chan struct{})
	server, err := web.Listen("127.0.0.1:0", "http.address", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-finish
		_, _ = io.WriteString(w, "whole") // the client notices an error
	}), nil, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- server.Serve() }()

	type answer struct {
		body string
		err  error
	}
	answered := make(chan answer, 1)
	go func() {
		response, err := client.Get(server.URL())
		if err != nil {
			answered <- answer{err: err}
			return
		}
		defer func() { _ = response.Body.Close() }()
		body, err := io.ReadAll(response.Body)
		answered <- answer{string(body), err}
	}()
	<-arrived
	down := make(chan error, 1)
	go func() { down <- server.Shutdown(t.Context()) }()
	require.Eventually(t, func() bool { // new requests are refused
		_, err := client.Get(server.URL())
		return err != nil
	}, time.Minute, time.Millisecond)
	close(finish)
	got := <-answered
	require.NoError(t, got.err)
	require.Equal(t, "whole", got.body)
	require.NoError(t, <-down)
	require.NoError(t, <-served)
}

func TestServer_ShutdownClosesRequestsAfterDeadline(t *testing.T) {
	t.Parallel()
	arrived, finish := make(chan struct{}), make(chan struct{})
	defer close(finish)
	server, err := web.Listen("127.0.0.1:0", "http.address", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(arrived)
		<-finish
	}), nil, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	go func() { _ = server.Serve() }() // ends with Shutdown
	go func() {
		if response, err := client.Get(server.URL()); err == nil {
			_ = response.Body.Close()
		}
	}()
	<-arrived
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.ErrorContains(t, server.Shutdown(ctx), "still being handled")
}

func TestStartPage_ListsLinksAndEscapesHTML(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	require.NoError(t, web.StartPage(mux, "v1", []string{"payment"}, []web.Link{
		{Href: "/docs", Name: "API", Korean: "문서", English: "documentation"},
		{Href: "javascript:alert(1)", Name: "<b>bold</b>"},
	}))
	h := web.Handler(mux, slog.New(slog.DiscardHandler), nil)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	require.Equal(t, http.StatusOK, w.Code)
	require.Contains(t, w.Body.String(), `<a href="/docs">API</a><span>문서</span><span lang="en">documentation</span>`)
	require.NotContains(t, w.Body.String(), "<b>")
	require.NotContains(t, w.Body.String(), "javascript:")

	w = httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/start.css", nil))
	require.Equal(t, "text/css; charset=utf-8", w.Header().Get("Content-Type"))
}
