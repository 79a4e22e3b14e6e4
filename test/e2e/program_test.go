package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/cmd/millrace/app"
	"millrace/modules/payment/gateway/simulator"
	"millrace/platform/bus"
	"millrace/platform/bus/store"
	"millrace/platform/mail/devinbox"
	"millrace/platform/postgres"
	"millrace/test/program"
)

// patience bounds every wait, on a machine at a third of the speed.
const patience = 5 * time.Minute

func TestMain(m *testing.M) { program.Main(m) }

// world is a database, a gateway and a mailbox that survive the program.
type world struct {
	t       *testing.T
	url     string // the database
	db      *sql.DB
	topo    *bus.Topology
	gateway *simulator.Simulator
	inbox   *devinbox.Inbox
	env     []string
}

const secret = "whsec_bWlsbHJhY2UtZTJlLXRlc3Qtc2VjcmV0LTAwMDE="

func newWorld(t *testing.T, brokers []string) *world {
	t.Helper()
	w := &world{t: t, url: program.Database(t)}
	var err error
	w.topo, err = app.Topology()
	require.NoError(t, err)
	w.gateway, err = simulator.New(simulator.Config{Seed: 7, Address: "127.0.0.1:0", Secret: secret})
	require.NoError(t, err)
	require.NoError(t, w.gateway.Start())
	t.Cleanup(func() { require.NoError(t, w.gateway.Close()) })
	w.inbox, err = devinbox.Start(devinbox.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.inbox.Close()) })
	host, port := w.inbox.HostPort()
	w.db, err = postgres.Open(t.Context(), postgres.Config{URL: w.url, MaxConns: 4, Application: "e2e"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.db.Close()) })
	w.env = append(os.Environ(),
		"MILLRACE_DATABASE_URL="+w.url, "MILLRACE_DATA_DIR="+t.TempDir(), "MILLRACE_DATABASE_MAX_CONNS_PER_MODULE=6",
		"MILLRACE_PAYMENT_GATEWAY_URL="+w.gateway.URL(), "MILLRACE_PAYMENT_GATEWAY_TIMEOUT=500ms", "MILLRACE_PAYMENT_CALLBACK_SECRETS="+secret,
		"MILLRACE_MAIL_SMTP_HOST="+host, fmt.Sprintf("MILLRACE_MAIL_SMTP_PORT=%d", port), "MILLRACE_MAIL_SMTP_TLS=auto",
		"MILLRACE_DELIVERY_AUTO_PROGRESS_AFTER=1ms", "MILLRACE_DATAPLATFORM_FLUSH_EVERY=200ms", "MILLRACE_LOG_FORMAT=json")
	if len(brokers) > 0 {
		w.env = append(w.env, "MILLRACE_TRANSPORT=kafka", "MILLRACE_KAFKA_BROKERS="+strings.Join(brokers, ","),
			fmt.Sprintf("MILLRACE_KAFKA_PREFIX=e2e-%d-", time.Now().UnixNano())) // new topics for the new database
	}
	return w
}

// serving is a serving process.
type serving struct {
	*exec.Cmd
	t      *testing.T
	url    string
	stderr *bytes.Buffer
}

// serve starts the program and waits until it is ready. The program listens at
// address; the gateway sends its callbacks there.
func (w *world) serve(address string) *serving {
	w.t.Helper()
	p := &serving{t: w.t, Cmd: exec.CommandContext(context.Background(), program.Build(w.t, ""), "serve"), stderr: &bytes.Buffer{}}
	p.Env = append(w.env, "MILLRACE_HTTP_ADDRESS="+address)
	p.Stderr = p.stderr
	out, err := p.StdoutPipe()
	require.NoError(w.t, err)
	require.NoError(w.t, p.Start())
	w.t.Cleanup(func() { _ = p.Process.Kill(); _ = p.Wait() }) // it has ended, unless the test failed
	ready := make(chan string, 1)
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if _, url, ok := strings.Cut(lines.Text(), "is ready: "); ok {
				ready <- strings.TrimSuffix(url, "/")
			}
		}
	}()
	select {
	case p.url = <-ready:
	case <-time.After(patience):
		_ = p.Process.Kill() // the test fails anyway
		w.t.Fatalf("not ready after %s:\n%s", patience, p.stderr)
	}
	return p
}

// call makes a request and returns its status and body; status 0 if there was no answer.
func call(ctx context.Context, method, url, body string, headers ...string) (int, string) {
	request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return 0, err.Error()
	}
	request.Header.Set("Content-Type", "application/json")
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		request.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(text)
}

func (p *serving) must(method, path, body string, headers ...string) map[string]any {
	p.t.Helper()
	status, text := call(p.t.Context(), method, p.url+path, body, headers...)
	require.Less(p.t, status, 300, "%s %s: %s", method, path, text)
	require.Positive(p.t, status, "%s %s: %s", method, path, text)
	var answer map[string]any
	if text != "" {
		require.NoError(p.t, json.Unmarshal([]byte(text), &answer), text)
	}
	return answer
}

const address = `{"name":"Kim","phone":"010-0000-0000","line1":"1 Sejong-daero","city":"Seoul","postcode":"04524","country":"KR"}`

func payment(order, user string) string {
	return fmt.Sprintf(`{"orderKey":%q,"userId":%q,"amount":12000,"currency":"KRW","method":"card"}`, order, user)
}

// one returns one value.
func (w *world) one(query string) (value string) {
	w.t.Helper()
	require.NoError(w.t, w.db.QueryRowContext(w.t.Context(), query).Scan(&value), query)
	return value
}

// eventually waits until the query returns want.
func (w *world) eventually(query, want string) {
	w.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; <-tick.C {
		got := w.one(query)
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			require.FailNow(w.t, "waited in vain", "%.300s\nwant %q\ngot  %q\nwaiting:\n%s", query, want, got, w.waiting())
		}
	}
}

// waiting lists the rows that wait, and for what, the oldest of each module first.
func (w *world) waiting() string {
	w.t.Helper()
	var rows []string
	for _, module := range w.topo.Modules() {
		rows = append(rows, fmt.Sprintf(`(SELECT format('%[1]s call %%s %%s: %%s, attempts %%s, due %%s, %%s', name, key, state, attempts, next_at, last_error) AS line
				FROM %[1]s.outbound_calls WHERE state IN ('pending', 'leased') ORDER BY id LIMIT 5)`, module),
			fmt.Sprintf(`(SELECT format('%[1]s parked %%s %%s: %%s, attempts %%s, due %%s, %%s', type, key, state, attempts, next_attempt_at, error)
				FROM %[1]s.parked_messages WHERE state <> 'discarded' ORDER BY id LIMIT 5)`, module))
	}
	return w.one(`SELECT coalesce(string_agg(line, E'\n'), 'no call, no parked message') || E'\nnow ' || now() FROM (` + strings.Join(rows, " UNION ALL ") + `) r`)
}

// quiet waits until every subscriber has handled all its messages or has them as dead
// letters, and no retry and no outbound call is pending.
func (w *world) quiet() {
	w.t.Helper()
	var waiting []string
	count := func(name, rows string) {
		waiting = append(waiting, fmt.Sprintf(`SELECT '%s' AS name, count(*) AS n FROM %s`, name, rows))
	}
	for _, module := range w.topo.Modules() {
		count(module+" aside", module+`.parked_messages WHERE state IN ('retry_scheduled', 'blocked', 'awaiting_version')`)
		count(module+" outbound calls", module+`.outbound_calls WHERE state IN ('pending', 'leased')`)
		types := map[string][]string{}
		for _, s := range w.topo.SubscriptionsOf(module) {
			topic := w.topo.TopicOf(s.Type)
			types[topic] = append(types[topic], s.Type)
		}
		for _, kept := range store.Everything(w.topo) {
			if len(types[kept.Topic]) > 0 {
				count(module+" pending of "+kept.Stream, fmt.Sprintf(`(SELECT * FROM %[1]s) m WHERE m.type IN ('%[2]s')
					AND NOT EXISTS (SELECT 1 FROM %[3]s.inbox i WHERE i.subscriber = '%[3]s' AND i.message_id = m.id AND split_part(i.topic, '/', 1) = '%[4]s')
					AND NOT EXISTS (SELECT 1 FROM %[3]s.parked_messages a WHERE a.subscriber = '%[3]s' AND a.message_id = m.id AND split_part(a.topic, '/', 1) = '%[4]s' AND a.state IN ('dead', 'discarded'))`,
					kept.Table, strings.Join(types[kept.Topic], "', '"), module, kept.Topic))
			}
		}
	}
	w.eventually(`SELECT coalesce(string_agg(name || ' ' || n, ', '), '') FROM (`+strings.Join(waiting, " UNION ALL ")+`) waiting WHERE n > 0`, "")
}

func (w *world) deadLetters() string {
	w.t.Helper()
	var parts []string
	for _, module := range w.topo.Modules() {
		parts = append(parts, fmt.Sprintf(`SELECT '%s ' || type || ' ' || key || ': ' || error AS line FROM %[1]s.parked_messages WHERE state = 'dead'`, module))
	}
	return w.one(`SELECT coalesce(string_agg(line, '; '), '') FROM (` + strings.Join(parts, " UNION ALL ") + `) d`)
}
