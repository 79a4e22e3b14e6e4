//go:build chaos

package chaos_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/platform/web"
	"millrace/test/ports"
)

const (
	abusers    = 48
	slowOnes   = 1000
	mostMemory = 192 << 20 // peak memory of the process: usually 90 MiB; without the limits, 290 MiB
)

// Anonymous clients send bodies with thousands of unknown fields, send bodies that
// never end, and open thousands of connections, while orders are paid. Orders
// complete, the lease is renewed in time, memory stays bounded, and probes answer.
func TestAbusiveLoad_OrdersCompleteAndNothingElseSuffers(t *testing.T) {
	t.Parallel()
	w := fresh(t, "MILLRACE_BUS_LEASE_TTL=10s", "MILLRACE_HTTP_MAX_REQUESTS=16", "MILLRACE_HTTP_MAX_CONNECTIONS=256")
	at := ports.Of(t)
	p := w.serve(at, "")
	w.exec(`CREATE TABLE public.renewals (late boolean)`)
	w.exec(`CREATE FUNCTION public.note_renewal() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		INSERT INTO public.renewals VALUES (OLD.expires_at < clock_timestamp()); RETURN NULL; END $$`)
	w.exec(`CREATE TRIGGER renewals AFTER UPDATE OR DELETE ON bus.nodes FOR EACH ROW EXECUTE FUNCTION public.note_renewal()`)
	a := w.abuse(at)
	l := w.load(3, at)
	w.until(func() string { return a.missing() })
	l.accepts(60)
	w.becomes("true", `SELECT count(*) >= 4 FROM public.renewals`)

	// Requests that wait for a database lock use up all request slots.
	tx := w.idle()
	_, err := tx.ExecContext(t.Context(), `LOCK TABLE notification.contacts IN ACCESS EXCLUSIVE MODE`)
	require.NoError(t, err)
	refused := a.refused.Load()
	w.until(func() string {
		if a.refused.Load() < refused+10 {
			return "too many requests, and none is refused"
		}
		return ""
	})
	probed := a.probes.Load()
	w.until(func() string {
		if a.probes.Load() < probed+9 {
			return "probes do not answer while requests are refused"
		}
		return ""
	})
	require.NoError(t, tx.Rollback())

	l.accepts(10)
	a.end()
	require.Equal(t, "0", w.one(`SELECT count(*) FROM public.renewals WHERE late`), "the lease was lost")
	require.Empty(t, a.faults())
	peak := p.peakMemory()
	t.Logf("%d large bodies, %d slow ones, %d refused, %d probes; peak memory %d MiB", a.bodies.Load(), a.slow.Load(), a.refused.Load(), a.probes.Load(), peak>>20)
	require.Less(t, peak, int64(mostMemory))
	l.accounted()
	p.stop()
}

// abuse runs the abusive clients and a probe.
type abuse struct {
	w        *world
	at       string
	ctx      context.Context //nolint:containedctx // of all its clients
	stop     context.CancelFunc
	clients  sync.WaitGroup
	bodies   atomic.Int64 // large bodies that were answered
	slow     atomic.Int64 // connections of slow clients that were closed
	refused  atomic.Int64 // 503 answers because of too many requests
	probes   atomic.Int64 // probes answered with 200
	mu       sync.Mutex
	problems []string
}

func (w *world) abuse(at string) *abuse {
	a := &abuse{w: w, at: at}
	a.ctx, a.stop = context.WithCancel(context.Background())
	for n := range abusers {
		a.clients.Go(func() { a.repeat(100*time.Millisecond, func() { a.sendNames(n) }) })
	}
	for n := range slowOnes {
		a.clients.Go(func() { a.repeat(2*time.Second, func() { a.sendSlowly(n) }) })
	}
	a.clients.Go(func() { a.repeat(100*time.Millisecond, a.probe) })
	w.t.Cleanup(a.end)
	return a
}

func (a *abuse) end() {
	a.stop()
	a.clients.Wait()
}

// repeat calls do at every tick until the abuse ends.
func (a *abuse) repeat(pause time.Duration, do func()) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for a.ctx.Err() == nil {
		do()
		select {
		case <-tick.C:
		case <-a.ctx.Done():
		}
	}
}

func (a *abuse) fault(format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.problems) < 10 {
		a.problems = append(a.problems, fmt.Sprintf(format, args...))
	}
}

func (a *abuse) faults() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.problems
}

// missing returns "" when there was enough abuse of each kind, and the counts otherwise.
func (a *abuse) missing() string {
	if bodies, slow, probes := a.bodies.Load(), a.slow.Load(), a.probes.Load(); bodies < 100 || slow < 3*slowOnes || probes < 9 {
		return fmt.Sprintf("%d large bodies, %d slow ones, %d probes so far", bodies, slow, probes)
	}
	return ""
}

// names returns a body of the maximum size, with only unknown fields.
var names = sync.OnceValue(func() []byte {
	var body bytes.Buffer
	body.WriteString("{")
	for n := 0; body.Len() < web.MaxBody-20; n++ {
		fmt.Fprintf(&body, `"%x":0,`, n)
	}
	body.WriteString(`"x":0}`)
	return body.Bytes()
})

// sendNames sends a large body to one operation or, for even n, a small one to another.
func (a *abuse) sendNames(n int) {
	method, path, body := http.MethodPost, "/payments", names()
	if n%2 == 0 { // this request needs the database
		method, path, body = http.MethodPut, "/contacts/"+strconv.Itoa(n), []byte(`{"email":"nobody@example.com","language":"en"}`)
	}
	status, header, text := a.ask(method, path, body)
	switch {
	case status == 0: // its connection was closed in favour of another
	case status == http.StatusServiceUnavailable:
		if header.Get("Retry-After") == "" {
			a.fault("503 without Retry-After: %s", text)
		}
		if bytes.Contains(text, []byte("too many requests are in work")) {
			a.refused.Add(1)
		}
	case status == http.StatusGatewayTimeout, status == http.StatusRequestTimeout: // the lock was not acquired, or the body not read, in time
	case status == http.StatusUnprocessableEntity || status < 300:
		a.bodies.Add(1)
		if len(text) > 16<<10 {
			a.fault("an answer of %d bytes", len(text))
		}
	default:
		a.fault("%s %s: %d %s", method, path, status, text)
	}
}

// sendSlowly sends most of a request, and waits until the server closes the connection.
func (a *abuse) sendSlowly(n int) {
	conn, err := (&net.Dialer{}).DialContext(a.ctx, "tcp", a.at)
	if err != nil {
		return // it tries again later
	}
	stop := context.AfterFunc(a.ctx, func() { _ = conn.Close() })
	defer stop()
	defer conn.Close()
	text := "POST /payments HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 65536\r\n\r\n"
	if n%4 != 0 { // otherwise no body at all
		text += string(names()[:60<<10])
	}
	if n%8 == 1 {
		text = "GET /livez HTTP/1.1\r\nHost: local"
	}
	_, _ = io.WriteString(conn, text) // it may be closed already
	_, _ = io.Copy(io.Discard, conn)  // until it is closed
	a.slow.Add(1)
}

// probe sends the requests of an orchestrator. Like an orchestrator, it tries again
// if the connection is closed before its request is read.
func (a *abuse) probe() {
	for _, path := range []string{"/livez", "/readyz", "/metrics"} {
		status, text := 0, []byte(nil)
		for try := 0; try < 5 && status == 0; try++ {
			status, _, text = a.ask(http.MethodGet, path, nil)
		}
		switch {
		case a.ctx.Err() != nil:
			return
		case status != http.StatusOK:
			a.fault("%s: %d %s", path, status, text)
		default:
			a.probes.Add(1)
		}
	}
}

// ask makes a request on a new connection. The status is 0 if there was no answer.
func (a *abuse) ask(method, path string, body []byte) (int, http.Header, []byte) {
	request, err := http.NewRequestWithContext(a.ctx, method, "http://"+a.at+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, []byte(err.Error())
	}
	request.Close = true
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Idempotency-Key", "one")
	response, err := abusive.Do(request)
	if err != nil {
		return 0, nil, []byte(err.Error())
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, nil, []byte(err.Error())
	}
	return response.StatusCode, response.Header, text
}

var abusive = &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}

var highWater = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)

// peakMemory is the process's peak resident memory in bytes.
func (p *running) peakMemory() int64 {
	p.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Process.Pid))
	require.NoError(p.t, err, "it has ended\n%s", p.stderr)
	found := highWater.FindStringSubmatch(string(status))
	require.NotNil(p.t, found, "%s", status)
	kilobytes, err := strconv.ParseInt(strings.TrimSpace(found[1]), 10, 64)
	require.NoError(p.t, err)
	return kilobytes << 10
}
