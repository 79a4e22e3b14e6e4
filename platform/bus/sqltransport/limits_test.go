package sqltransport_test

import (
	"context"
	"errors"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
	"millrace/platform/bus/admin"
	"millrace/platform/bus/sqltransport"
	"millrace/platform/bus/store"
	"millrace/platform/errs"
	"millrace/platform/postgres"
	"millrace/platform/postgres/devserver"
	"millrace/platform/postgres/pgtest"
)

// What the stock queue, whose offsets are of four bytes, fails.
func TestOffsetsGoOnBehindTwoBillion(t *testing.T) {
	t.Parallel()
	url, handled := fresh(t), make(chan int, 10)
	hosts := []bus.Module{part{name: "shop", publishes: []bus.Event{paid{}}, sends: []bus.Command{pack{}}},
		part{name: "store", subscribes: []bus.Subscription{bus.On(func(_ context.Context, _ *bus.Tx, p paid) error {
			handled <- p.N
			return nil
		}), bus.Handle(func(_ context.Context, _ *bus.Tx, p pack) error {
			handled <- p.N
			return nil
		})}}}
	topo, err := bus.NewTopology(hosts...)
	require.NoError(t, err)
	require.NoError(t, admin.Migrate(t.Context(), url, topo))
	db, err := postgres.Open(t.Context(), postgres.Config{URL: url, MaxConns: 1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	p := store.PartitionOf("x")
	for _, query := range []string{
		`INSERT INTO shop.log (partition, "offset", id, type, key, payload, metadata) VALUES ($1, $2, gen_random_uuid(), 'shop.paid', 'x', '{}', '{}')`,
		`INSERT INTO store.offsets (subscriber, topic, partition, committed_offset) VALUES ('store', 'shop.events', $1, $2)`,
		`INSERT INTO store.queue (partition, "offset", id, type, key, payload, metadata) VALUES ($1, $2, gen_random_uuid(), 'store.pack', 'x', '{}', '{}')`,
		`INSERT INTO store.offsets (subscriber, topic, partition, committed_offset) VALUES ('store', 'store.commands', $1, $2)`,
	} {
		_, err = db.ExecContext(t.Context(), query, p, math.MaxInt32)
		require.NoError(t, err)
	}
	r := start(t, url, sqltransport.Config{}, hosts...)
	shop := r.transport.DB("shop")
	next := 0
	for _, publish := range []func(tx *bus.Tx, n int) error{
		func(tx *bus.Tx, n int) error { return tx.Publish(paid{"x", n}) },
		func(tx *bus.Tx, n int) error { return tx.Send(pack{"x", n}) },
	} {
		for _, many := range []int{1, 2} { // one message is written by a function of its own
			require.NoError(t, shop.InTx(t.Context(), func(tx *bus.Tx) (err error) {
				for i := range many {
					err = errors.Join(err, publish(tx, next+i))
				}
				return err
			}))
			for range many {
				require.Equal(t, next, waitFor(t, "the message behind them", handled))
				next++
			}
		}
	}
	for _, table := range []string{"shop.log", "store.queue"} {
		var last int64
		require.NoError(t, db.QueryRowContext(t.Context(), `SELECT max("offset") FROM `+table+` WHERE partition = $1`, p).Scan(&last))
		require.EqualValues(t, math.MaxInt32+3, last, table)
	}
}

// What stops the stock subscriber: nobody is connected who could end it.
func TestAPreparedTransactionThatNobodyEndsStopsNobody(t *testing.T) {
	t.Parallel()
	cfg := devserver.Config{DataDir: pgtest.Dir(t) + "/data", NoSync: true} // the machine stays up
	server, err := devserver.Start(t.Context(), cfg)
	require.NoError(t, err)
	require.NoError(t, server.CreateDatabase(t.Context(), "millrace"))
	admin, err := postgres.Open(t.Context(), postgres.Config{URL: server.URL("millrace"), MaxConns: 1})
	require.NoError(t, err)
	_, err = admin.ExecContext(t.Context(), `ALTER SYSTEM SET max_prepared_transactions = 5`)
	require.NoError(t, err)
	require.NoError(t, admin.Close())
	require.NoError(t, server.Stop())
	server, err = devserver.Start(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop()) })

	handled := make(chan int, 10)
	r := start(t, server.URL("millrace"), sqltransport.Config{}, part{name: "shop", publishes: []bus.Event{paid{}}},
		part{name: "store", subscribes: []bus.Subscription{bus.On(func(_ context.Context, _ *bus.Tx, p paid) error {
			handled <- p.N
			return nil
		})}})
	admin, err = postgres.Open(t.Context(), postgres.Config{URL: server.URL("millrace"), MaxConns: 1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, admin.Close()) })
	_, err = admin.ExecContext(t.Context(), `BEGIN; CREATE TABLE store.unrelated (n int); PREPARE TRANSACTION 'orphan'`)
	require.NoError(t, err)
	require.NoError(t, r.transport.DB("shop").InTx(t.Context(), func(tx *bus.Tx) error { return tx.Publish(paid{"x", 17}) }))
	require.Equal(t, 17, waitFor(t, "the message", handled))
	var orphans int
	require.NoError(t, admin.QueryRowContext(t.Context(), `SELECT count(*) FROM pg_prepared_xacts`).Scan(&orphans))
	require.Equal(t, 1, orphans, "it was there all the time")
	_, err = admin.ExecContext(t.Context(), `ROLLBACK PREPARED 'orphan'`)
	require.NoError(t, err)
}

func TestOpen_RefusesDatabaseThatForgetsConfirmedCommits(t *testing.T) {
	t.Parallel()
	url, topo := fresh(t), topology(t)
	require.NoError(t, admin.Migrate(t.Context(), url, topo))
	db, err := postgres.Open(t.Context(), postgres.Config{URL: url, MaxConns: 1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	_, err = db.ExecContext(t.Context(), `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database()); END $$`)
	require.NoError(t, err)
	_, err = sqltransport.Open(t.Context(), sqltransport.Config{URL: url}, topo, topo.Modules())
	require.Equal(t, errs.Invalid, errs.KindOf(err), "%v", err)
	require.ErrorContains(t, err, "SET synchronous_commit = on")
}
