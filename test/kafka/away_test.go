//go:build kafka

package kafka

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/cmd/millrace/app"
	"millrace/config"
	"millrace/platform/postgres/pgtest"
	"millrace/test/broker"
)

// awayVariable sets how long the brokers are away. childVariable marks the process
// that runs only this test.
const (
	awayVariable  = "MILLRACE_KAFKA_AWAY"
	childVariable = "MILLRACE_KAFKA_AWAY_CHILD"
)

func awayFor(t *testing.T) time.Duration {
	t.Helper()
	long := time.Minute
	if text := os.Getenv(awayVariable); text != "" {
		var err error
		long, err = time.ParseDuration(text)
		require.NoError(t, err, awayVariable)
	}
	return long
}

// One broker is killed and restarted after a minute, and another one hangs for as
// long. Each has its own shop and store; the whole program runs on the first,
// too. The test runs in a separate process, so that it can measure its memory.
func TestBroker_AwayForAMinuteLosesNothing(t *testing.T) {
	if os.Getenv(childVariable) == "" {
		t.Parallel()
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout="+(awayFor(t)+5*time.Minute).String()) //nolint:gosec // this test
		child.Env = append(os.Environ(), childVariable+"=1")
		out, err := child.CombinedOutput()
		require.NoError(t, err, string(out))
		t.Log(string(out))
		return
	}
	killed := broker.Start(t, broker.Options{Properties: shortSessions()})
	hangs := broker.Start(t, broker.Options{Properties: shortSessions()})
	served := startProgram(t, killed.Brokers())
	var sites [2]*opened
	var loads [2]*load
	for i, cluster := range []*broker.Cluster{killed, hangs} {
		sites[i] = open(t, configFor(cluster.Brokers()))
		loads[i] = underLoadOf(sites[i], 4, 10*time.Millisecond)
	}
	served.eventually("ok")

	gone := time.Now()
	back := time.NewTimer(awayFor(t))
	require.NoError(t, killed.Kill(0))
	require.NoError(t, hangs.Freeze(0))
	for _, o := range sites {
		eventually(t, "blocked", func() bool { return o.Flowing() != nil })
		eventually(t, "healthy all the same", func() bool { return o.Healthy() == nil }) // after a stall of the machine the lease must be renewed first
	}
	served.publishes()
	// The relay reads ahead by a bounded number of rows, here 256 cached and 500 in
	// flight for each key. Fill these buffers before measuring memory.
	for i, o := range sites {
		loads[i].pile(o, 4*1000)
	}
	var early usage
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for waiting := true; waiting; {
		before := [2]int64{loads[0].published.Load(), loads[1].published.Load()}
		select {
		case <-tick.C:
		case <-back.C:
			waiting = false
		}
		if early.heap == 0 {
			early = used()
		}
		for i, l := range loads {
			eventually(t, "requests that go on", func() bool { return l.published.Load() > before[i] })
		}
	}
	since := served.eventually("degraded")
	require.WithinRange(t, since, gone.Add(-2*time.Second), gone.Add(awayFor(t)), "the answer has the time of the beginning")
	served.publishes()
	late := used()
	t.Logf("after %s: %d and %d transactions; from %s to %s", time.Since(gone).Round(time.Second), loads[0].published.Load(), loads[1].published.Load(), early, late)
	require.Less(t, late.heap, early.heap+6<<20, "memory stays flat")
	require.Less(t, late.goroutines, early.goroutines+100, "so do the goroutines")

	require.NoError(t, killed.Restart(0))
	require.NoError(t, hangs.Thaw(0))
	for i, o := range sites {
		loads[i].end(o)
	}
	served.eventually("ok")
	served.publishes()
}

// usage is the memory and the goroutines of this process.
type usage struct {
	heap       uint64
	goroutines int
}

func used() usage {
	runtime.GC()
	runtime.GC() // twice: sync.Pool keeps its contents for one collection
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return usage{m.HeapAlloc, runtime.NumGoroutine()}
}

func (u usage) String() string {
	return fmt.Sprintf("%.1f MiB in %d goroutines", float64(u.heap)/(1<<20), u.goroutines)
}

// program is the whole product, as `millrace serve` runs it.
type program struct {
	t   *testing.T
	url string
}

func startProgram(t *testing.T, brokers []string) program {
	t.Helper()
	cfg := config.Default()
	cfg.HTTP.Address = "127.0.0.1:0"
	cfg.Database.URL = config.Secret(pgtest.URL(t))
	cfg.Database.MaxConnsPerModule = 5
	cfg.DataDir = t.TempDir()
	cfg.Transport, cfg.Kafka.Brokers, cfg.Kafka.Prefix = config.OnKafka, brokers, "program."
	a, err := app.New(t.Context(), cfg, app.Options{Version: "test", Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-ended)
		require.NoError(t, a.Close())
	})
	select {
	case <-a.Ready():
	case err := <-ended:
		require.FailNow(t, "the program ended", "%v", err)
	case <-time.After(patience):
		require.FailNow(t, "the program is not ready")
	}
	return program{t, a.URL()}
}

var client = &http.Client{Timeout: 30 * time.Second}

func (p program) ask(method, path, body string) (code int, answer []byte) {
	p.t.Helper()
	request, err := http.NewRequestWithContext(p.t.Context(), method, p.url+path, strings.NewReader(body))
	require.NoError(p.t, err)
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	require.NoError(p.t, err)
	defer response.Body.Close() //nolint:errcheck // the body was read
	answer, err = io.ReadAll(response.Body)
	require.NoError(p.t, err)
	return response.StatusCode, answer
}

// eventually waits until /readyz answers 200 with this status. It returns since when
// the brokers are away, according to the answer.
func (p program) eventually(status string) (since time.Time) {
	p.t.Helper()
	eventually(p.t, status, func() bool {
		code, body := p.ask(http.MethodGet, "/readyz", "")
		var answer struct {
			Status string
			Checks []struct {
				Name  string
				Since time.Time
			}
		}
		require.NoError(p.t, json.Unmarshal(body, &answer), string(body))
		for _, check := range answer.Checks {
			if check.Name == "kafka" {
				since = check.Since
			}
		}
		return code == http.StatusOK && answer.Status == status
	})
	return since
}

// publishes makes a request that publishes an event.
func (p program) publishes() {
	p.t.Helper()
	code, answer := p.ask(http.MethodPost, "/consultations", `{"hospitalId":4848,"memberId":77,"reservationAt":"2026-12-01T10:00:00+09:00"}`)
	require.Less(p.t, code, 300, string(answer))
}

// pile publishes n more events and commands, a hundred in a transaction.
func (l *load) pile(o *opened, n int64) {
	o.t.Helper()
	for enough := l.published.Load() + n; l.published.Load() < enough; {
		before := l.published.Load()
		l.burst.Store(100)
		eventually(o.t, "a hundred", func() bool { return l.published.Load() >= before+100 })
	}
}
