package web_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/platform/web"
)

// busy is a server with small limits. A request to /work waits until release;
// /big answers with more than the connection's buffers hold.
type busy struct {
	server  *web.Server
	limits  *web.Limits
	arrived chan struct{}
	finish  chan struct{}
}

func startBusy(t *testing.T, requests, connections int) *busy {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	b := &busy{limits: web.NewLimits(log, requests, connections), arrived: make(chan struct{}, 100), finish: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("/work", func(http.ResponseWriter, *http.Request) { b.arrived <- struct{}{}; <-b.finish })
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	mux.HandleFunc("/big", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 64<<20)) })
	for _, probe := range []string{"/livez", "/readyz", "/metrics"} {
		mux.HandleFunc("GET "+probe, func(http.ResponseWriter, *http.Request) {})
	}
	var err error
	b.server, err = web.Listen("127.0.0.1:0", "http.address", web.Handler(mux, log, b.limits), b.limits, log)
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- b.server.Serve() }()
	t.Cleanup(func() {
		b.release()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
		defer cancel()
		_ = b.server.Shutdown(ctx) // some tests leave connections open
		require.NoError(t, <-served)
	})
	return b
}

func (b *busy) release() {
	select {
	case <-b.finish:
	default:
		close(b.finish)
	}
}

// get sends a request on its own connection.
func (b *busy) get(t *testing.T, path string) (*http.Response, string) {
	t.Helper()
	alone := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := alone.Get(b.server.URL() + path)
	require.NoError(t, err, path)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err, path)
	require.NoError(t, response.Body.Close())
	return response, string(body)
}

// open connects and writes the start of a request.
func (b *busy) open(t *testing.T, text string) net.Conn {
	t.Helper()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", b.server.Address())
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(time.Minute)))
	_, err = io.WriteString(c, text)
	require.NoError(t, err)
	return c
}

func (b *busy) fill(t *testing.T, requests int) *sync.WaitGroup {
	t.Helper()
	var working sync.WaitGroup
	for range requests {
		working.Go(func() {
			response, err := client.Get(b.server.URL() + "/work")
			if err == nil {
				err = response.Body.Close()
			}
			if err != nil || response.StatusCode != http.StatusOK {
				t.Errorf("what was in work was not finished: %v", err)
			}
		})
		<-b.arrived
	}
	return &working
}

func TestLimits_RefuseExcessRequestsWhileProbesAnswer(t *testing.T) {
	t.Parallel()
	b := startBusy(t, 3, 100)
	working := b.fill(t, 3)
	response, text := b.get(t, "/echo")
	require.Equal(t, http.StatusServiceUnavailable, response.StatusCode)
	require.Equal(t, "1", response.Header.Get("Retry-After"))
	require.Equal(t, "application/problem+json", response.Header.Get("Content-Type"))
	require.Contains(t, text, "too many requests are in work")
	require.Contains(t, text, "urn:uuid:"+response.Header.Get("X-Request-Id"))
	require.EqualValues(t, 1, b.limits.Refused())
	for _, probe := range []string{"/livez", "/readyz", "/metrics"} {
		response, _ = b.get(t, probe)
		require.Equal(t, http.StatusOK, response.StatusCode, probe)
	}
	b.release()
	working.Wait()
	response, _ = b.get(t, "/echo")
	require.Equal(t, http.StatusOK, response.StatusCode)
}

// Neither a body that does not arrive nor an answer that is not read delays
// other requests.
func TestLimits_SlowClientsOccupyNoSlots(t *testing.T) {
	t.Parallel()
	b := startBusy(t, 2, 100)
	for range 10 {
		b.open(t, "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{")
		reads := bufio.NewReader(b.open(t, "GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n"))
		line, err := reads.ReadString('\n') // the answer has started
		require.NoError(t, err)
		require.Contains(t, line, "200")
	}
	response, text := b.get(t, "/echo")
	require.Equal(t, http.StatusOK, response.StatusCode, text)
	require.Zero(t, b.limits.Refused())
}

// A new connection is always accepted, and requests being handled are
// completed.
func TestLimits_CloseConnectionThatWaitedLongest(t *testing.T) {
	t.Parallel()
	const most = 20
	b := startBusy(t, 4, most)
	working := b.fill(t, 4) // the oldest connections
	slow := []string{
		"", // sends nothing
		"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Le",
		"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{",
		"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n", // idle afterwards
	}
	var waiting []net.Conn
	for i := range 10 * most {
		waiting = append(waiting, b.open(t, slow[i%len(slow)]))
	}
	for _, probe := range []string{"/livez", "/readyz", "/metrics"} {
		response, _ := b.get(t, probe)
		require.Equal(t, http.StatusOK, response.StatusCode, probe)
	}
	require.GreaterOrEqual(t, b.limits.Closed(), int64(9*most))
	for _, c := range waiting[:8*most] {
		_, err := io.Copy(io.Discard, c)
		var network net.Error
		require.False(t, err != nil && errors.As(err, &network) && network.Timeout(), "it was not closed")
	}
	b.release()
	working.Wait()
}

// The limit counts open connections only.
func TestLimits_ClosedConnectionFreesItsSlot(t *testing.T) {
	t.Parallel()
	b := startBusy(t, 2, 10)
	for range 100 {
		response, text := b.get(t, "/echo")
		require.Equal(t, http.StatusOK, response.StatusCode, text)
	}
	require.Zero(t, b.limits.Closed())
}

// The time limit does not start again with each byte.
func TestServer_RejectsBodyThatArrivesTooSlowly(t *testing.T) {
	t.Parallel()
	b := startBusy(t, 2, 10)
	c := b.open(t, "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n")
	ended := make(chan struct{})
	go func() { // a byte now and then
		defer close(ended)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for range tick.C {
			if _, err := io.WriteString(c, "x"); err != nil {
				return
			}
		}
	}()
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	require.NoError(t, err)
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusRequestTimeout, response.StatusCode)
	require.True(t, strings.Contains(string(text), "did not arrive within"), "%s", text)
	require.NoError(t, c.Close())
	<-ended
}
