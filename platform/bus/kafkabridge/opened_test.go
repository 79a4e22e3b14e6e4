//go:build slow

package kafkabridge

import (
	"context"
	"database/sql"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
	"millrace/platform/bus/admin"
	"millrace/platform/bus/kafkabridge/fakebroker"
	"millrace/platform/bus/sqltransport"
	"millrace/platform/postgres"
	"millrace/platform/postgres/pgtest"
)

// opened is a transport with its router; text queries its database.
type opened struct {
	*Transport
	t    *testing.T
	cfg  Config
	text func(query string) string
	stop func()
}

// open hosts the modules in a new database.
func open(t *testing.T, cfg Config) *opened {
	t.Helper()
	return openIn(t, cfg, pgtest.URL(t))
}

// openIn hosts the modules in a database, which they may have used before.
func openIn(t *testing.T, cfg Config, url string) *opened {
	t.Helper()
	note := func(ctx context.Context, tx *bus.Tx, p paid) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO effects (key, n) VALUES ($1, $2)`, p.Order, p.N)
		return err
	}
	packs := func(ctx context.Context, tx *bus.Tx, p pack) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO effects (key, n) VALUES ($1, -1)`, p.Order)
		return err
	}
	parts := modules()
	parts[1] = module{name: "store", subscribes: []bus.Subscription{bus.On(note), bus.Handle(packs)}}
	topo := topology(t, parts...)
	require.NoError(t, admin.Migrate(t.Context(), url, topo))
	db, err := postgres.Open(t.Context(), postgres.Config{URL: url, MaxConns: 2})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	_, err = db.ExecContext(t.Context(), `CREATE TABLE IF NOT EXISTS store.effects (at bigint GENERATED ALWAYS AS IDENTITY, key text, n int)`)
	require.NoError(t, err)

	o := &opened{t: t, cfg: cfg, text: func(query string) (got string) {
		require.NoError(t, db.QueryRowContext(context.Background(), query).Scan(&got), query)
		return got
	}}
	o.Transport, err = Open(t.Context(), cfg, sqltransport.Config{URL: url, MaxConnsPerModule: 6, Poll: time.Minute, Logger: cfg.Logger}, topo, topo.Modules())
	require.NoError(t, err)
	router, err := bus.NewRouter(topo, topo.Modules(), o.Subscriber, slog.New(slog.DiscardHandler), watermill.NopLogger{})
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- router.Run(context.Background()) }()
	<-router.Running()
	var once sync.Once
	o.stop = func() {
		once.Do(func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			require.NoError(t, o.Drain(ctx))
			require.NoError(t, router.Close())
			require.NoError(t, <-done)
			require.NoError(t, o.Close())
		})
	}
	t.Cleanup(func() { o.stop() })
	return o
}

// publish publishes n events of five keys, numbered from first, and sends as many commands.
func (o *opened) publish(first, n int) {
	o.t.Helper()
	for i := range n {
		require.NoError(o.t, o.DB("shop").InTx(context.Background(), func(tx *bus.Tx) error {
			if err := tx.Publish(paid{"order-" + strconv.Itoa(i%5), first + i}); err != nil {
				return err
			}
			return tx.Send(pack{"order-" + strconv.Itoa(i%5)})
		}))
	}
}

// effects waits until n events and n commands have had one effect each, in order, and checks
// that no message is parked.
func (o *opened) effects(n int) {
	o.t.Helper()
	eventually(o.t, strconv.Itoa(n)+" effects", func() bool {
		return o.text(`SELECT count(*) FILTER (WHERE n >= 0) || ' ' || count(*) FILTER (WHERE n < 0) FROM store.effects`) == strconv.Itoa(n)+" "+strconv.Itoa(n)
	})
	require.Equal(o.t, "0", o.text(`SELECT count(*) FROM (SELECT n - lag(n) OVER (PARTITION BY key ORDER BY at) AS step FROM store.effects WHERE n >= 0) AS s WHERE step <= 0`))
	require.Equal(o.t, "0", o.text(`SELECT count(*) FROM store.parked_messages`))
}

// emptied waits until all commands were deleted.
func emptied(t *testing.T, b *fakebroker.Broker) {
	t.Helper()
	eventually(t, "an empty topic", func() bool {
		for _, p := range b.PartitionInfos("store.commands") {
			if p.LogStartOffset != p.HighWatermark {
				return false
			}
		}
		return true
	})
}

func connect(t *testing.T, url string) *sql.DB {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Config{URL: url, MaxConns: 1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}
