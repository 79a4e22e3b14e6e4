// Package bustest tests one module alone: given these requests, when these
// messages arrive, then exactly these rows and messages are there.
//
// The database, the transport, the router and the HTTP server are the real
// ones; only the other modules are missing. Stand-ins for them publish and send
// what the module handles. The commands that it sends stay in the receivers'
// queues, where Then finds them.
//
//	d := bustest.Start(t, func(db *bus.DB) bustest.Module { return delivery.New(db, delivery.Config{}) })
//	d.Given(`PUT /deliveries/goods-17/address`, `{"postcode":"00000", …}`)
//	d.When(paymentapi.Completed{OrderKey: "goods-17", OrderKind: paymentapi.Goods, Amount: 15000, Currency: "KRW", …})
//	d.Then(deliveryapi.Failed{OrderKey: "goods-17"}, paymentapi.Refund{OrderKey: "goods-17"})
//	d.ThenAgainNothing() // the same message delivered twice
//
// Every wait has a time limit of a minute. Then the test fails with the rows or
// messages that were there instead.
package bustest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
	"millrace/platform/bus/admin"
	"millrace/platform/bus/sqltransport"
	"millrace/platform/module"
	"millrace/platform/outbound"
	"millrace/platform/postgres"
	"millrace/platform/postgres/pgtest"
	"millrace/platform/web"
)

// patience bounds every wait.
const patience = 60 * time.Second

// Module is what a module offers to the program.
type Module = module.Module

// Harness is a module at work, alone.
type Harness struct {
	t         testing.TB
	ctx       context.Context
	module    string
	topo      *bus.Topology
	transport *sqltransport.Transport
	handler   http.Handler
	db        *bus.DB

	seen   map[uuid.UUID]bool   // messages of the module that a Then has looked at
	last   []uuid.UUID          // the messages of the last When
	topics map[uuid.UUID]string // by message
}

// Start runs the module that build makes, on a database of its own, until the
// test ends. A module that subscribes to every event receives those in subscribed.
func Start(t testing.TB, build func(db *bus.DB) Module, hearing ...bus.Event) *Harness {
	t.Helper()
	ctx := t.Context()
	declared := build(nil)
	topo, err := bus.NewTopology(append(standIns(declared, hearing), declared)...)
	require.NoError(t, err)

	url := pgtest.CopyOf(t, schemaOf(topo, declared), func(ctx context.Context, url string) error {
		return errors.Join(admin.Migrate(ctx, url, topo), migrate(ctx, url, declared))
	})
	log := slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	transport, err := sqltransport.Open(ctx, sqltransport.Config{
		URL: url, MaxConnsPerModule: 6, Workers: 2, Logger: log,
		Poll: 100 * time.Millisecond, Backoff: []time.Duration{10 * time.Millisecond, 20 * time.Millisecond},
	}, topo, topo.Modules())
	require.NoError(t, err)

	h := &Harness{
		t: t, ctx: ctx, module: declared.Name(), topo: topo, transport: transport,
		db: transport.DB(declared.Name()), seen: map[uuid.UUID]bool{}, topics: map[uuid.UUID]string{},
	}
	module := build(h.db)
	h.run(module, hearing, log)

	mux := http.NewServeMux()
	module.Routes(web.NewAPI(mux, "test", log))
	h.handler = web.Handler(mux, log, nil)
	return h
}

// run starts the router and the module's background work, and ends them in the
// order in which the program does.
func (h *Harness) run(module Module, hearing []bus.Event, log *slog.Logger) {
	h.t.Helper()
	// The topology above came from declarations alone; the router needs the
	// handlers of the module that has its database.
	topo, err := bus.NewTopology(append(standIns(module, hearing), module)...)
	require.NoError(h.t, err)
	router, err := bus.NewRouter(topo, []string{h.module}, h.transport.Subscriber, log, watermill.NopLogger{})
	require.NoError(h.t, err)
	routed := make(chan error, 1)
	if len(topo.SubscriptionsOf(h.module)) > 0 {
		go func() { routed <- router.Run(context.Background()) }()
		<-router.Running()
	} else {
		routed <- nil
	}
	working, stop := context.WithCancel(context.Background())
	worked := make(chan error, 1)
	go func() { worked <- module.Run(working) }()
	h.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(h.t, h.transport.Drain(ctx))
		stop()
		require.NoError(h.t, <-worked)
		require.NoError(h.t, router.Close())
		require.NoError(h.t, <-routed)
		require.NoError(h.t, h.transport.Close())
	})
}

// schemaOf names the tables of the module and of its stand-ins: two tests with the same
// name can use copies of one database.
func schemaOf(topo *bus.Topology, m Module) string {
	text := fmt.Sprint(topo.Modules())
	if files := m.Migrations(); files != nil {
		_ = fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
			if err == nil && !entry.IsDir() {
				content, _ := fs.ReadFile(files, name) // Migrate reports what cannot be read
				text += name + string(content)
			}
			return nil
		})
	}
	return text
}

func migrate(ctx context.Context, url string, m Module) error {
	db, err := postgres.Open(ctx, postgres.Config{URL: url, MaxConns: 2, Application: "bustest"})
	if err != nil {
		return err
	}
	err = postgres.Migrate(ctx, db, m.Name(), "outbound_version", outbound.Migrations())
	return errors.Join(err, postgres.Migrate(ctx, db, m.Name(), "module_version", m.Migrations()), db.Close())
}

// Given makes a request that must succeed.
func (h *Harness) Given(route, body string) *httptest.ResponseRecorder {
	h.t.Helper()
	response := h.Do(route, body)
	require.Less(h.t, response.Code, 300, "%s: %s", route, response.Body)
	return response
}

// Do makes a request, as `PUT /deliveries/goods-17/address`, with headers as
// "Name: value".
func (h *Harness) Do(route, body string, headers ...string) *httptest.ResponseRecorder {
	h.t.Helper()
	method, path, found := strings.Cut(route, " ")
	require.True(h.t, found, "a route is METHOD path, not %q", route)
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	request := httptest.NewRequestWithContext(h.ctx, method, path, reader)
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ":")
		request.Header.Set(name, strings.TrimSpace(value))
	}
	response := httptest.NewRecorder()
	h.handler.ServeHTTP(response, request)
	return response
}

// testWriter sends log lines to the test.
type testWriter struct{ t testing.TB }

func (w testWriter) Write(line []byte) (int, error) {
	defer func() { _ = recover() }() // a line after the test's end has nowhere to go
	w.t.Log(strings.TrimRight(string(line), "\n"))
	return len(line), nil
}
