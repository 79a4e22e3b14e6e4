package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/cmd/millrace/app"
	"millrace/modules/payment/gateway"
	"millrace/modules/payment/gateway/simulator"
	"millrace/platform/postgres"
	"millrace/platform/postgres/pgtest"
)

// split is an installation with one process for each module. No process connects
// as the owner of the tables.
type split struct {
	t       *testing.T
	prefix  string            // of the roles' names
	admin   map[string]string // module → its database's URL as the superuser
	environ []string          // of all processes
	urls    map[string]string // module → its process's URL
	stderr  *record           // standard error of all processes
}

// record is a concurrent writer that keeps everything.
type record struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

const rolePassword = "test"

// newSplit creates the users like an administrator, migrates as the owner, and
// starts a process for each module. Without brokers they share a database; with
// brokers each has its own.
func newSplit(t *testing.T, brokers []string) *split {
	t.Helper()
	s := migrated(t, brokers)
	for _, module := range app.Modules() {
		s.serve(s.as(module, "in_"+module), module)
	}
	return s
}

func migrated(t *testing.T, brokers []string) *split {
	t.Helper()
	s := &split{t: t, prefix: pgtest.RolePrefix(t), admin: map[string]string{}, urls: map[string]string{}, stderr: &record{}}
	s.environ = []string{
		"MILLRACE_HTTP_ADDRESS=127.0.0.1:0", "MILLRACE_DATABASE_MAX_CONNS_PER_MODULE=5", "MILLRACE_LOG_LEVEL=debug",
		"MILLRACE_DELIVERY_AUTO_PROGRESS_AFTER=10ms", "MILLRACE_DATAPLATFORM_FLUSH_EVERY=100ms",
		fmt.Sprintf("MILLRACE_PAYMENT_GATEWAY_SIMULATOR_SEED=%d", goodSeed()),
	}
	databases := map[string][]string{"": app.Modules()}
	if brokers != nil {
		s.environ = append(s.environ, "MILLRACE_TRANSPORT=kafka", "MILLRACE_KAFKA_BROKERS="+strings.Join(brokers, ","))
		databases = map[string][]string{}
		for _, module := range app.Modules() {
			databases[module] = []string{module}
		}
	}
	first := true
	for _, hosted := range databases {
		url := pgtest.URL(t)
		for _, module := range hosted {
			s.admin[module] = url
		}
		if first { // roles belong to the server, not to a database
			s.do(hosted[0], `CREATE ROLE `+s.prefix+`owner LOGIN CREATEROLE PASSWORD '`+rolePassword+`'`)
			first = false
		}
		s.do(hosted[0], `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I OWNER TO `+s.prefix+`owner', current_database()); END $$`)
		args := []string{"migrate"}
		if brokers != nil {
			args = append(args, "--modules", strings.Join(hosted, ","))
		}
		code, _, complaint := try(t, append(s.as(hosted[0], "owner"), "MILLRACE_DATABASE_ROLE_PREFIX="+s.prefix), args...)
		require.Zero(t, code, complaint)
	}
	for _, module := range app.Modules() {
		s.do(module, `CREATE ROLE `+s.prefix+`in_`+module+` LOGIN PASSWORD '`+rolePassword+`' IN ROLE `+s.prefix+module)
	}
	return s
}

// goodSeed returns a seed with which the simulator approves all orders of story.
func goodSeed() uint64 {
	for seed := uint64(1); ; seed++ {
		if !slices.ContainsFunc([]string{goods, nowhere, deposit}, func(order string) bool {
			return simulator.PlanFor(seed, order, 1).Status != gateway.Approved
		}) {
			return seed
		}
	}
}

// as is the environment of a program that connects as one of the users.
func (s *split) as(module, user string) []string {
	return append(slices.Clone(s.environ), "MILLRACE_DATABASE_URL="+pgtest.As(s.admin[module], s.prefix+user, rolePassword), "MILLRACE_DATA_DIR="+s.t.TempDir())
}

// serve runs `millrace serve --modules <modules>` in this process until the test
// ends.
func (s *split) serve(environ []string, modules ...string) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	out, in := io.Pipe()
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"serve", "--modules", strings.Join(modules, ",")}, environ, in, s.stderr)
		_ = in.Close() // Close never fails
	}()
	s.t.Cleanup(func() {
		cancel()
		require.Zero(s.t, <-ended, modules)
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(s.t, err, "%s: %s", modules, s.stderr)
	_, url, found := strings.Cut(strings.TrimSpace(line), "is ready: ")
	require.True(s.t, found, line)
	for _, module := range modules {
		s.urls[module] = strings.TrimSuffix(url, "/")
	}
	go func() { _, _ = io.Copy(io.Discard, out) }() // until the pipe is closed
}

func (s *split) do(module, statement string) {
	s.t.Helper()
	db, err := postgres.Open(s.t.Context(), postgres.Config{URL: s.admin[module], MaxConns: 1})
	require.NoError(s.t, err)
	defer func() { require.NoError(s.t, db.Close()) }()
	_, err = db.ExecContext(s.t.Context(), statement)
	require.NoError(s.t, err, statement)
}

// one returns the result of a query on a module's tables; "" for no rows.
func (s *split) one(module, query string) string {
	s.t.Helper()
	db, err := postgres.Open(s.t.Context(), postgres.Config{URL: s.admin[module], Schema: module, MaxConns: 1})
	require.NoError(s.t, err)
	defer func() { require.NoError(s.t, db.Close()) }()
	var answer sql.NullString
	require.NoError(s.t, db.QueryRowContext(s.t.Context(), query).Scan(&answer), query)
	return answer.String
}

// until polls a query for two minutes until it returns want.
func (s *split) until(module, query, want string) {
	s.t.Helper()
	s.eventually(module+": "+query+": "+want, func() bool { return s.one(module, query) == want })
}

func (s *split) eventually(what string, holds func() bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 2*time.Minute)
	defer cancel()
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	for !holds() {
		select {
		case <-look.C:
		case <-ctx.Done():
			s.unhindered() // a missing right may be the reason
			s.t.Fatalf("not within two minutes: %s", what)
		}
	}
}

func (s *split) call(module, method, path, body string) map[string]any {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), method, s.urls[module]+path, strings.NewReader(body))
	require.NoError(s.t, err)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Idempotency-Key", fmt.Sprintf("%x", sha256.Sum256([]byte(path+body))))
	response, err := client.Do(request)
	require.NoError(s.t, err)
	defer func() { require.NoError(s.t, response.Body.Close()) }()
	text, err := io.ReadAll(response.Body)
	require.NoError(s.t, err)
	require.Less(s.t, response.StatusCode, 300, "%s %s: %s", method, path, text)
	var answer map[string]any
	if len(text) > 0 {
		require.NoError(s.t, json.Unmarshal(text, &answer))
	}
	return answer
}

const (
	goods   = "goods-roles-1"
	nowhere = "goods-roles-2"   // an address that no carrier delivers to
	deposit = "deposit-5600000" // the deposit of the first consultation
)

// story makes every module publish, send and handle each of its messages. One
// message becomes a dead letter and is retried.
func (s *split) story() {
	pay := func(order string) {
		s.call("payment", "POST", "/payments", fmt.Sprintf(`{"orderKey":%q,"userId":"kim","amount":12000,"currency":"KRW","method":"card"}`, order))
	}
	address := `{"name":"Kim","phone":"010-0000-0000","line1":"1 Sejong-daero","city":"Seoul","postcode":"04524","country":%q}`
	s.call("notification", "PUT", "/contacts/kim", `{"email":"kim@example.com","language":"ko"}`)
	s.call("notification", "PUT", "/contacts/77", `{"email":"lee@example.com","language":"en"}`)
	s.call("delivery", "PUT", "/deliveries/"+goods+"/address", fmt.Sprintf(address, "KR"))
	s.call("delivery", "PUT", "/deliveries/"+nowhere+"/address", fmt.Sprintf(address, "AQ"))
	pay(goods)
	pay(nowhere)
	pay(deposit)
	s.until("delivery", `SELECT string_agg(order_key || ' ' || state, ', ' ORDER BY order_key) FROM deliveries`, goods+" delivered, "+nowhere+" failed")
	s.until("payment", `SELECT string_agg(order_key || ' ' || status, ', ' ORDER BY order_key) FROM payments`, deposit+" completed, "+goods+" completed, "+nowhere+" refunded")
	s.until("consultation", `SELECT count(*)::text FROM parked_messages WHERE state = 'dead'`, "1")

	code, listed, complaint := try(s.t, s.as("consultation", "in_consultation"), "deadletters")
	require.Zero(s.t, code, complaint)
	require.Contains(s.t, listed, deposit)
	made := s.call("consultation", "POST", "/consultations", `{"hospitalId":4848,"memberId":77,"reservationAt":"2026-12-01T10:00:00+09:00"}`)
	require.Equal(s.t, deposit, fmt.Sprintf("deposit-%.0f", made["consultationId"]))
	letter := "consultation/" + s.one("consultation", `SELECT id::text FROM parked_messages WHERE state = 'dead'`)
	require.Contains(s.t, listed, letter+" ")
	code, out, complaint := try(s.t, s.as("consultation", "in_consultation"), "deadletters", "retry", letter)
	require.Zero(s.t, code, complaint)
	require.Contains(s.t, out, "is tried again")
	s.until("consultation", `SELECT max(status) FROM consultation`, "FIXED")
	s.call("consultation", "POST", "/consultations/5600000/moves", `{"to":"CANCELED","actor":"MEMBER"}`)

	s.until("payment", `SELECT string_agg(order_key || ' ' || status, ', ' ORDER BY order_key) FROM payments`, deposit+" refunded, "+goods+" completed, "+nowhere+" refunded")
	s.until("inquiry", `SELECT count(*)::text FROM entry WHERE card IS NOT NULL`, "3")
	for _, module := range app.Modules() {
		s.until(module, `SELECT count(*)::text FROM parked_messages`, "0")
	}
	s.until("notification", `SELECT count(*)::text FROM notifications WHERE state <> 'sent'`, "0")
	s.eventually("every event is in a file", func() bool {
		events := 0
		for _, module := range app.Modules() {
			var n int
			_, err := fmt.Sscan(s.one(module, `SELECT count(*)::text FROM log`), &n)
			require.NoError(s.t, err)
			events += n
		}
		return s.one("dataplatform", `SELECT count(*)::text FROM record r JOIN file f ON f.written_at IS NOT NULL AND r.position BETWEEN f.first_position AND f.last_position`) == fmt.Sprint(events)
	})

	code, printed, complaint := try(s.t, s.as("consultation", "in_consultation"), "trace", "5600000")
	require.Zero(s.t, code, complaint)
	require.Contains(s.t, printed, "consultation.changed")
}

// unhindered fails the test if a process logged a missing right.
func (s *split) unhindered() {
	s.t.Helper()
	for line := range strings.Lines(s.stderr.String()) {
		for _, sign := range []string{"permission denied", "42501", "must be owner", "must be a member"} {
			require.NotContains(s.t, line, sign)
		}
	}
	require.Contains(s.t, s.stderr.String(), "ready")
}

// TestRoles_OneProcessUsesEachModulesRole: the process's user is a member of all
// roles, but each module uses only the rights of its own role.
func TestRoles_OneProcessUsesEachModulesRole(t *testing.T) {
	t.Parallel()
	s := migrated(t, nil)
	s.do("payment", `CREATE ROLE `+s.prefix+`in_all LOGIN PASSWORD '`+rolePassword+`' IN ROLE `+s.prefix+strings.Join(app.Modules(), ", "+s.prefix))
	environ := append(s.as("payment", "in_all"), "MILLRACE_DATABASE_ROLE_PREFIX="+s.prefix)
	s.serve(environ, app.Modules()...)
	s.story()
	s.unhindered()
}
