package app

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/config"
	"millrace/platform/bus/kafkabridge/fakebroker"
	"millrace/platform/postgres"
	"millrace/platform/postgres/pgtest"
)

// split serves every module from an App of its own. Each has its own database, and
// they share nothing but the broker.
type split struct {
	apps      map[string]*App
	databases map[string]string
}

func startSplit(t *testing.T) *split {
	t.Helper()
	broker, err := fakebroker.Start()
	require.NoError(t, err)
	t.Cleanup(broker.Close)
	s := &split{apps: map[string]*App{}, databases: map[string]string{}}
	for _, name := range Modules() {
		cfg := local(t)
		cfg.Database.URL = config.Secret(pgtest.URL(t)) // only the module's own tables belong there
		cfg.Modules = []string{name}
		cfg.Transport = config.OnKafka
		cfg.Kafka.Brokers = broker.Addresses()
		cfg.Delivery.AutoProgressAfter = 10 * time.Millisecond
		cfg.DataPlatform.FlushEvery = 100 * time.Millisecond
		s.apps[name], _ = start(t, cfg)
		s.databases[name] = cfg.Database.URL.Reveal()
	}
	return s
}

// call sends a request to the module that answers it.
func (s *split) call(t *testing.T, module, method, path string, body, answer any) int {
	t.Helper()
	sent, err := json.Marshal(body)
	require.NoError(t, err)
	request, err := http.NewRequestWithContext(t.Context(), method, s.apps[module].URL()+path, bytes.NewReader(sent))
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Idempotency-Key", strings.ReplaceAll(module+path, "/", "-"))
	response, err := client.Do(request)
	require.NoError(t, err)
	defer func() { require.NoError(t, response.Body.Close()) }()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	if response.StatusCode < 300 && answer != nil {
		require.NoError(t, json.Unmarshal(text, answer), "%s", text)
	}
	if response.StatusCode >= 300 && response.StatusCode != http.StatusNotFound {
		t.Fatalf("%s %s: %d %s", method, path, response.StatusCode, text)
	}
	return response.StatusCode
}

func (s *split) count(t *testing.T, module, query string, args ...any) (n int) {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Config{URL: s.databases[module], Schema: module, MaxConns: 1})
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	require.NoError(t, db.QueryRowContext(t.Context(), query, args...).Scan(&n), query)
	return n
}

// until polls until holds returns true.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

func TestSplit_OrderPassesThroughAllModules(t *testing.T) {
	t.Parallel()
	s := startSplit(t)
	const key = "goods-9001"
	s.call(t, "notification", http.MethodPut, "/contacts/u-1", map[string]any{"email": "u-1@example.com", "language": "en"}, nil)
	s.call(t, "delivery", http.MethodPut, "/deliveries/"+key+"/address", map[string]any{
		"name": "Kim", "phone": "+82 10 0000 0000", "postcode": "04524", "line1": "1 Sejong-daero",
	}, nil)
	var made struct{ ConsultationID int64 }
	s.call(t, "consultation", http.MethodPost, "/consultations", map[string]any{"hospitalId": 7, "memberId": 9, "openedBy": "MEMBER"}, &made)
	s.call(t, "payment", http.MethodPost, "/payments", map[string]any{
		"orderKey": key, "userId": "u-1", "amount": 1250, "currency": "KRW", "method": "card",
	}, nil)

	until(t, "the order is delivered", func() bool {
		return s.count(t, "delivery", `SELECT count(*) FROM deliveries WHERE order_key = $1 AND state = 'delivered'`, key) == 1
	})
	until(t, "the customer gets three mails", func() bool {
		return s.count(t, "notification", `SELECT count(*) FROM notifications WHERE state = 'sent'`) >= 3
	})
	until(t, "the consultation has its chat", func() bool {
		return s.count(t, "inquiry", `SELECT count(*) FROM room WHERE consultation_id = $1`, made.ConsultationID) == 1
	})
	events := 0
	for name := range s.apps {
		events += s.count(t, name, `SELECT count(*) FROM log`)
	}
	require.Positive(t, events)
	until(t, "the data platform has every event", func() bool {
		events := 0
		for name := range s.apps {
			events += s.count(t, name, `SELECT count(*) FROM log`)
		}
		return s.count(t, "dataplatform", `SELECT count(*) FROM record`) == events
	})
	for name, url := range s.databases {
		require.Equal(t, 1, schemas(t, url), "database of %s", name)
	}
	require.Eventually(t, shows(t, s.apps["payment"], "millrace_kafka_stalled_seconds 0"), time.Minute, 50*time.Millisecond)
	_, metrics := get(t, s.apps["payment"].URL()+"/metrics")
	require.Regexp(t, `(?m)^millrace_kafka_sent_total [1-9]`, metrics)
	require.Contains(t, metrics, "millrace_kafka_gone_total 0\n")
}

// schemas counts the modules that have a schema in the database.
func schemas(t *testing.T, url string) (n int) {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Config{URL: url, MaxConns: 1})
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	names := "'" + strings.Join(Modules(), "', '") + "'"
	require.NoError(t, db.QueryRowContext(t.Context(), fmt.Sprintf(`SELECT count(*) FROM pg_namespace WHERE nspname IN (%s)`, names)).Scan(&n))
	return n
}

func TestMigrate_CreatesOnlyTheNamedModules(t *testing.T) {
	t.Parallel()
	cfg := config.Default()
	cfg.Transport, cfg.Modules = config.OnKafka, []string{"payment", "delivery"}
	url := pgtest.URL(t)
	require.NoError(t, Migrate(t.Context(), cfg, &Database{url: url}))
	require.Equal(t, 2, schemas(t, url))
	cfg.Transport = config.Postgres
	require.NoError(t, Migrate(t.Context(), cfg, &Database{url: url}), "moved to PostgreSQL, where modules write into each other's queues")
	require.Equal(t, len(Modules()), schemas(t, url))
}
