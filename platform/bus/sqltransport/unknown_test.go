package sqltransport_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
	"millrace/platform/bus/admin"
	"millrace/platform/bus/sqltransport"
	"millrace/platform/postgres"
)

// lines keeps what several goroutines log.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) of(module string) (all []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.text.String()) {
		if strings.Contains(line, `"subscriber":"`+module+`"`) && strings.Contains(line, "this one does not know") {
			all = append(all, line)
		}
	}
	return all
}

func TestSubscriber_WarnsAboutTypesOfAnotherVersion(t *testing.T) {
	t.Parallel()
	url := fresh(t)
	subscriptions := func() []bus.Subscription {
		return []bus.Subscription{bus.On(func(context.Context, *bus.Tx, paid) error { return nil })}
	}
	parts := []bus.Module{part{name: "shop", publishes: []bus.Event{paid{}}}, part{name: "store", subscribes: subscriptions()}, part{name: "till", subscribes: subscriptions()}}
	topo, err := bus.NewTopology(parts...)
	require.NoError(t, err)
	require.NoError(t, admin.Migrate(t.Context(), url, topo))
	db, err := postgres.Open(t.Context(), postgres.Config{URL: url, MaxConns: 1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	_, err = db.ExecContext(t.Context(), `INSERT INTO bus.registrations (subscriber, type) VALUES ('store', 'shop.returned'), ('store', 'shop.blessed'), ('store', 'shop.paid'), ('till', 'shop.paid')`)
	require.NoError(t, err)
	logged := &lines{}
	start(t, url, sqltransport.Config{Logger: slog.New(slog.NewJSONHandler(logged, nil))}, parts...)
	require.Len(t, logged.of("store"), 1)
	require.Contains(t, logged.of("store")[0], `"types":["shop.blessed","shop.returned"]`)
	require.Contains(t, logged.of("store")[0], "millrace deadletters forget store TYPE --reason …")
	require.Empty(t, logged.of("till"))
}
