//go:build chaos

package chaos_test

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/cmd/millrace/app"
	"millrace/modules/payment/gateway/simulator"
	"millrace/platform/bus"
	"millrace/platform/mail/devinbox"
	"millrace/platform/postgres"
	"millrace/platform/postgres/pgtest"
	"millrace/test/program"
)

const (
	patience = 2 * time.Minute // bounds every wait
	secret   = "whsec_bWlsbHJhY2UtZTJlLXRlc3Qtc2VjcmV0LTAwMDE="
	seed     = 7
)

func TestMain(m *testing.M) {
	flag.Parse()
	if parallel := flag.Lookup("test.parallel"); parallel.Value.String() == strconv.Itoa(runtime.GOMAXPROCS(0)) {
		_ = parallel.Value.Set("4") // these tests mostly wait, for leases and time limits
	}
	program.Main(m)
}

// world is a database, a gateway and a mailbox that survive the program.
type world struct {
	t       *testing.T
	url     string  // the database
	db      *sql.DB // for the test's own queries
	topo    *bus.Topology
	gateway *simulator.Simulator
	inbox   *devinbox.Inbox
	data    string // the data platform's folder
	env     []string
	moved   bool   // the transport was changed
	program string // the executable; "": this version
}

// newWorld makes a world on the database at url. environment may give the program
// another URL of the same database.
func newWorld(t *testing.T, url string, environment ...string) *world {
	t.Helper()
	w := &world{t: t, url: url, data: t.TempDir()}
	var err error
	w.topo, err = app.Topology()
	require.NoError(t, err)
	w.gateway, err = simulator.New(simulator.Config{Seed: seed, Address: "127.0.0.1:0", Secret: secret})
	require.NoError(t, err)
	require.NoError(t, w.gateway.Start())
	t.Cleanup(func() { require.NoError(t, w.gateway.Close()) })
	w.inbox, err = devinbox.Start(devinbox.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.inbox.Close()) })
	host, port := w.inbox.HostPort()
	w.db, err = postgres.Open(t.Context(), postgres.Config{URL: url, MaxConns: 4, Application: "chaos"})
	require.NoError(t, err)
	t.Cleanup(func() { _ = w.db.Close() })
	w.env = append(os.Environ(),
		"MILLRACE_MAIL_LIMIT_ORDERS=1000000", "MILLRACE_MAIL_LIMIT_RESERVATIONS=1000000", // all orders are of one user
		"MILLRACE_DATABASE_URL="+url, "MILLRACE_DATA_DIR="+t.TempDir(), "MILLRACE_DATABASE_MAX_CONNS_PER_MODULE=5",
		"MILLRACE_BUS_BACKOFF=20ms,50ms,100ms,200ms,400ms,800ms,1s,2s", // a test's trigger may fail a message eight times in a row
		"MILLRACE_PAYMENT_GATEWAY_URL="+w.gateway.URL(), "MILLRACE_PAYMENT_GATEWAY_TIMEOUT=500ms",
		"MILLRACE_PAYMENT_STATUS_CHECK_AFTER=3s", "MILLRACE_PAYMENT_CALLBACK_SECRETS="+secret,
		"MILLRACE_MAIL_SMTP_HOST="+host, fmt.Sprintf("MILLRACE_MAIL_SMTP_PORT=%d", port),
		"MILLRACE_DELIVERY_AUTO_PROGRESS_AFTER=1ms",
		"MILLRACE_DATAPLATFORM_DIR="+w.data, "MILLRACE_DATAPLATFORM_FLUSH_EVERY=200ms", "MILLRACE_LOG_FORMAT=json")
	w.env = append(w.env, environment...)
	return w
}

// fresh makes a world on a new database.
func fresh(t *testing.T, environment ...string) *world {
	t.Helper()
	return newWorld(t, pgtest.URL(t), environment...)
}

// running is a process of the program.
type running struct {
	*exec.Cmd
	t      *testing.T
	url    string        // where it listens
	ready  chan struct{} // closed when it reports that it is ready
	ended  chan struct{} // closed when it has ended
	err    error         // the result of Wait; read it after ended
	stderr *tail
}

// launch starts a command of the program. address is where `serve` listens.
func (w *world) launch(address, failpoint string, args ...string) *running {
	w.t.Helper()
	path := w.program
	if path == "" {
		path = program.Build(w.t, "chaos") // with failpoints
	}
	p := &running{t: w.t, Cmd: exec.CommandContext(context.Background(), path, args...), url: "http://" + address,
		ready: make(chan struct{}), ended: make(chan struct{}), stderr: &tail{}}
	p.Env = append(slices.Clone(w.env), "MILLRACE_HTTP_ADDRESS="+address, "FAILPOINT="+failpoint)
	p.Stderr = p.stderr
	out, err := p.StdoutPipe()
	require.NoError(w.t, err)
	require.NoError(w.t, p.Start())
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if strings.Contains(lines.Text(), "is ready: ") {
				close(p.ready)
			}
		}
		p.err = p.Wait()
		close(p.ended)
	}()
	w.t.Cleanup(func() { _ = p.Process.Kill(); <-p.ended }) // it has ended, unless the test failed
	return p
}

// serve starts the program and waits until it is ready.
func (w *world) serve(address, failpoint string) *running {
	w.t.Helper()
	p := w.launch(address, failpoint, "serve")
	select {
	case <-p.ready:
	case <-p.ended:
		w.t.Fatalf("it ended before it was ready: %v\n%s", p.err, p.stderr)
	case <-time.After(patience):
		w.t.Fatalf("not ready after %s\n%s", patience, p.stderr)
	}
	return p
}

// wait returns how the process ended.
func (p *running) wait(why string) error {
	p.t.Helper()
	select {
	case <-p.ended:
		return p.err
	case <-time.After(patience):
		_ = p.Process.Signal(syscall.SIGQUIT) // prints the stacks of all goroutines
		select {
		case <-p.ended:
		case <-time.After(patience / 12):
		}
		p.t.Fatalf("%s: still running after %s\n%s", why, patience, p.stderr)
		return nil
	}
}

// dies waits until the process has killed itself at its failpoint.
func (p *running) dies(why string) {
	p.t.Helper()
	err := p.wait(why)
	var exit *exec.ExitError
	require.ErrorAs(p.t, err, &exit, "%s: it ended by itself\n%s", why, p.stderr)
	status, ok := exit.Sys().(syscall.WaitStatus)
	require.True(p.t, ok && status.Signal() == syscall.SIGKILL, "%s: it was not killed, but %v\n%s", why, err, p.stderr)
}

// stop sends SIGTERM and requires exit code 0.
func (p *running) stop() {
	p.t.Helper()
	require.NoError(p.t, p.Process.Signal(syscall.SIGTERM))
	require.NoError(p.t, p.wait("SIGTERM"), "%s", p.stderr)
}

// tail is a writer that keeps the last bytes written.
type tail struct {
	mu   sync.Mutex
	last []byte
}

func (l *tail) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	const enough = 64 << 10 // enough for the stacks of all goroutines
	l.last = append(l.last, p...)
	if len(l.last) > 2*enough {
		l.last = bytes.Clone(l.last[len(l.last)-enough:])
	}
	return len(p), nil
}

func (l *tail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.last)
}

// one returns one value as text, or "?" and the error, for instance while the database is down.
func (w *world) one(query string, args ...any) (value string) {
	w.t.Helper()
	err := w.db.QueryRowContext(w.t.Context(), `SELECT (`+query+`)::text`, args...).Scan(&value)
	if err != nil && !errors.Is(err, context.Canceled) {
		return "? " + err.Error()
	}
	return value
}

// exec runs a statement.
func (w *world) exec(statement string, args ...any) {
	w.t.Helper()
	_, err := w.db.ExecContext(w.t.Context(), statement, args...)
	require.NoError(w.t, err, "%.300s", statement)
}

// becomes waits until the query returns want.
func (w *world) becomes(want, query string, args ...any) {
	w.t.Helper()
	w.until(func() string {
		if got := w.one(query, args...); got != want {
			return fmt.Sprintf("%.400s\nwant %q\ngot  %q", query, want, got)
		}
		return ""
	})
}

// until waits until wrong returns an empty string.
func (w *world) until(wrong func() string) {
	w.t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; <-tick.C {
		what := wrong()
		if what == "" {
			return
		}
		require.True(w.t, time.Now().Before(deadline), "still, after %s:\n%s", patience, what)
	}
}
