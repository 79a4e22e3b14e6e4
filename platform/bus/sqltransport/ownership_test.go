package sqltransport_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/lib/pq"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"millrace/platform/bus"
	"millrace/platform/bus/admin"
	"millrace/platform/bus/sqltransport"
	"millrace/platform/errs"
	"millrace/platform/postgres"
)

func TestBatch_NodeThatLostAPartitionHandlesNothingOfIt(t *testing.T) {
	t.Parallel()
	handled := make(chan int, 10)
	r := start(t, fresh(t), sqltransport.Config{},
		part{name: "shop", publishes: []bus.Event{paid{}}},
		part{name: "store", subscribes: []bus.Subscription{bus.On(func(_ context.Context, _ *bus.Tx, p paid) error {
			handled <- p.N
			return nil
		})}})
	db, err := postgres.Open(t.Context(), postgres.Config{URL: r.url, MaxConns: 1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	publish := func(n int) {
		require.NoError(t, r.transport.DB("shop").InTx(t.Context(), func(tx *bus.Tx) error { return tx.Publish(paid{"x", n}) }))
	}
	publish(1)
	require.Equal(t, 1, waitFor(t, "the first", handled))
	arrived := func(want int) { // the handler speaks before its transaction is over
		t.Helper()
		require.Eventually(t, func() bool {
			var offset int
			require.NoError(t, db.QueryRowContext(t.Context(), `SELECT max(committed_offset) FROM store.offsets`).Scan(&offset))
			return offset == want
		}, 60*time.Second, 10*time.Millisecond)
	}
	arrived(1)
	// Another process takes the partition over and handles the second; this one
	// does not know that yet.
	_, err = db.ExecContext(t.Context(), `
		INSERT INTO bus.nodes (id, modules, subscriptions, expires_at) VALUES ('00000000-0000-0000-0000-000000000001', '{store}', '{}', clock_timestamp() + interval '100 seconds');
		UPDATE store.offsets SET node = '00000000-0000-0000-0000-000000000001', committed_offset = 2 WHERE committed_offset = 1`)
	require.NoError(t, err)
	publish(2)
	publish(3)
	// It ends, and this process claims the partition again.
	_, err = db.ExecContext(t.Context(), `DELETE FROM bus.nodes WHERE id = '00000000-0000-0000-0000-000000000001'`)
	require.NoError(t, err)
	require.Equal(t, 3, waitFor(t, "the third", handled), "the second was another's")
	require.Empty(t, handled)
	arrived(3)
}

func topology(t *testing.T) *bus.Topology {
	t.Helper()
	topo, err := bus.NewTopology(
		part{name: "shop", publishes: []bus.Event{paid{}, also{}}},
		part{name: "store", subscribes: []bus.Subscription{
			bus.On(func(context.Context, *bus.Tx, paid) error { return nil }),
			bus.On(func(context.Context, *bus.Tx, also) error { return nil })}})
	require.NoError(t, err)
	return topo
}

type also struct{}

func (also) EventName() string { return "shop.also" }
func (also) Key() string       { return "k" }

func open(t *testing.T, url string, topo *bus.Topology) *sqltransport.Transport {
	t.Helper()
	require.NoError(t, admin.Migrate(t.Context(), url, topo))
	tr, err := sqltransport.Open(t.Context(), sqltransport.Config{URL: url, Logger: slog.New(slog.DiscardHandler)}, topo, topo.Modules())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, tr.Close()) })
	return tr
}

func TestSubscriber_ClosedBeforeItsTypesAreCompleteClosesEveryChannel(t *testing.T) {
	t.Parallel()
	s := open(t, fresh(t), topology(t)).Subscriber("store")
	first, err := s.Subscribe(t.Context(), "shop.paid")
	require.NoError(t, err)
	_, err = s.Subscribe(t.Context(), "shop.paid")
	require.Equal(t, errs.Invalid, errs.KindOf(err), "twice")
	_, err = s.Subscribe(t.Context(), "shop.unknown")
	require.Equal(t, errs.Invalid, errs.KindOf(err), "not declared")
	require.NoError(t, s.Close())
	require.NoError(t, s.Close(), "the router closes once for each handler")
	_, more := <-first
	require.False(t, more)
	_, err = s.Subscribe(t.Context(), "shop.also") // its channel would never close
	require.Equal(t, errs.Shutdown, errs.KindOf(err))
}

func TestSubscriber_ChannelsCloseWhenTheContextEnds(t *testing.T) {
	t.Parallel()
	s := open(t, fresh(t), topology(t)).Subscriber("store")
	ctx, cancel := context.WithCancel(t.Context())
	first, err := s.Subscribe(ctx, "shop.paid")
	require.NoError(t, err)
	second, err := s.Subscribe(ctx, "shop.also")
	require.NoError(t, err)
	cancel()
	for msg := range first {
		t.Fatal(msg)
	}
	for msg := range second {
		t.Fatal(msg)
	}
}

func TestTransport_ClosedWithoutDrainLeavesNothingRunning(t *testing.T) {
	t.Parallel()
	tr := open(t, fresh(t), topology(t))
	s := tr.Subscriber("store")
	channel, err := s.Subscribe(context.Background(), "shop.paid")
	require.NoError(t, err)
	_, err = s.Subscribe(context.Background(), "shop.also")
	require.NoError(t, err)
	require.NoError(t, tr.Close())
	require.NoError(t, s.Close()) // waits for the workers
	_, more := <-channel
	require.False(t, more)
}

func TestOpen_RefusesTopicOfAnotherTransport(t *testing.T) {
	t.Parallel()
	url, topo := fresh(t), topology(t)
	open(t, url, topo)
	db, err := postgres.Open(t.Context(), postgres.Config{URL: url, MaxConns: 1, Schema: "bus"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	_, err = db.ExecContext(t.Context(), `UPDATE topics SET transport = 'kafka' WHERE name = 'shop.events'`)
	require.NoError(t, err)
	_, err = sqltransport.Open(t.Context(), sqltransport.Config{URL: url}, topo, topo.Modules())
	require.Equal(t, errs.Invalid, errs.KindOf(err))
	require.ErrorContains(t, err, "topic shop.events travels by kafka")
}

func TestConfig_NamesBadSettings(t *testing.T) {
	t.Parallel()
	for field, cfg := range map[string]sqltransport.Config{
		"URL":               {},
		"MaxConnsPerModule": {URL: "postgres://x", Workers: 4, MaxConnsPerModule: 5},
	} {
		_, err := sqltransport.Open(t.Context(), cfg, topology(t), nil)
		require.Equal(t, field, errs.FieldOf(err), "%v", err)
	}
}

// write publishes n messages of one partition from several writers at once.
func write(t *testing.T, url string, writers, each int) error {
	t.Helper()
	db := open(t, url, topology(t)).DB("shop")
	var all errgroup.Group
	for range writers {
		all.Go(func() error {
			for n := range each {
				if err := db.InTx(context.Background(), func(tx *bus.Tx) error { return tx.Publish(paid{"x", n}) }); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return all.Wait()
}

func TestOffsets_FollowTheCommitOrderWhateverTheServersDefaultIsolation(t *testing.T) {
	t.Parallel()
	url := fresh(t)
	db, err := postgres.Open(t.Context(), postgres.Config{URL: url, MaxConns: 1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	var name string
	require.NoError(t, db.QueryRowContext(t.Context(), `SELECT current_database()`).Scan(&name))
	_, err = db.ExecContext(t.Context(), fmt.Sprintf(`ALTER DATABASE %s SET default_transaction_isolation = 'repeatable read'`, name))
	require.NoError(t, err)
	require.NoError(t, write(t, url, 8, 25))
}

// What the publish lock is for: without it the writers collide, and this test
// could not be as green as the one above.
func TestAppend_WithoutThePublishLockWritersCollide(t *testing.T) {
	t.Parallel()
	url := fresh(t)
	require.NoError(t, admin.Migrate(t.Context(), url, topology(t)))
	db, err := postgres.Open(t.Context(), postgres.Config{URL: url, MaxConns: 1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	var definition string
	require.NoError(t, db.QueryRowContext(t.Context(), `SELECT replace(pg_get_functiondef(p.oid), 'PERFORM pg_advisory_xact_lock(topic, p)', 'PERFORM 1')
		FROM pg_proc p WHERE p.oid = 'shop.append_log_one'::regproc`).Scan(&definition))
	require.Contains(t, definition, "PERFORM 1")
	_, err = db.ExecContext(t.Context(), definition)
	require.NoError(t, err)
	require.NotNil(t, pq.As(write(t, url, 8, 200), "23505"), "two writers computed the same offset")
}

func TestTransport_ReleasesItsPartitionsAtShutdown(t *testing.T) {
	t.Parallel()
	url := fresh(t)
	hosts := []bus.Module{part{name: "shop", publishes: []bus.Event{paid{}}},
		part{name: "store", subscribes: []bus.Subscription{bus.On(func(context.Context, *bus.Tx, paid) error { return nil })}}}
	first := start(t, url, sqltransport.Config{}, hosts...)
	start(t, url, sqltransport.Config{}, hosts...)
	db, err := postgres.Open(t.Context(), postgres.Config{URL: url, MaxConns: 1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	owners := func(want string) {
		t.Helper()
		require.Eventually(t, func() bool {
			var got string
			require.NoError(t, db.QueryRowContext(t.Context(), `SELECT string_agg(n::text, ',') FROM (SELECT count(*) AS n FROM store.offsets GROUP BY node) AS o`).Scan(&got))
			return got == want
		}, 60*time.Second, 10*time.Millisecond, want)
	}
	owners("32,32")
	require.NoError(t, first.transport.Drain(t.Context())) // it lives on, for its requests in flight
	owners("64")
	require.NoError(t, first.transport.Healthy())
}
