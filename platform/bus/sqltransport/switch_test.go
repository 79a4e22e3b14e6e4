package sqltransport_test

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
	"millrace/platform/bus/admin"
	"millrace/platform/bus/relay"
	"millrace/platform/bus/sqltransport"
	"millrace/platform/bus/store"
	"millrace/platform/errs"
	"millrace/platform/postgres"
)

// refusing is a bridge that takes nothing.
type refusing struct{}

func (refusing) Name() string { return "nowhere" }
func (refusing) Forward(context.Context, []store.Row) (int, error) {
	return 0, errs.New(errs.Resource, "refused")
}

func TestSwitch_CommandsKeepTheirOrderThereAndBack(t *testing.T) {
	t.Parallel()
	url := fresh(t)
	var mended atomic.Bool
	note := func(ctx context.Context, tx *bus.Tx, p pack) error {
		if p.Order == "stuck" && p.N == 0 && !mended.Load() {
			return errs.New(errs.Invalid, "not yet")
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO effects (kind, key, n) VALUES ('pack', $1, $2)`, p.Order, p.N)
		return err
	}
	parts := []bus.Module{
		part{name: "shop", publishes: []bus.Event{paid{}}, sends: []bus.Command{pack{}}},
		part{name: "store", subscribes: []bus.Subscription{bus.Handle(note),
			bus.On(func(ctx context.Context, tx *bus.Tx, p paid) error {
				_, err := tx.ExecContext(ctx, `INSERT INTO effects (kind, key, n) VALUES ('paid', $1, $2)`, p.Order, p.N)
				return err
			})}},
	}
	topo, err := bus.NewTopology(parts...)
	require.NoError(t, err)
	require.NoError(t, admin.Migrate(t.Context(), url, topo))
	db, err := postgres.Open(t.Context(), postgres.Config{URL: url, MaxConns: 2, Schema: "store"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	_, err = db.ExecContext(t.Context(), `CREATE TABLE effects (at bigint GENERATED ALWAYS AS IDENTITY, kind text, key text, n int)`)
	require.NoError(t, err)
	got := func() (all string) {
		require.NoError(t, db.QueryRowContext(t.Context(), `SELECT coalesce(string_agg(line, ' ' ORDER BY line), '') FROM (
			SELECT kind || '/' || key || ':' || string_agg(n::text, ',' ORDER BY at) AS line FROM effects GROUP BY kind, key) AS lines`).Scan(&all))
		return all
	}
	// during runs a process that hosts modules; both keys are published with each n.
	during := func(bridge relay.Bridge, hosted []string, want string, ns ...int) {
		tr, err := sqltransport.Open(t.Context(), sqltransport.Config{URL: url, Bridge: bridge, Poll: 100 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)}, topo, hosted)
		require.NoError(t, err)
		if c, ok := bridge.(*badBridge); ok {
			c.to.Store(tr)
		}
		router, err := bus.NewRouter(topo, hosted, tr.Subscriber, slog.New(slog.DiscardHandler), watermill.NopLogger{})
		require.NoError(t, err)
		done := make(chan error, 1)
		go func() { done <- router.Run(context.Background()) }()
		<-router.Running()
		for _, n := range ns {
			publish(t, &rig{t: t, url: url, transport: tr}, n, "free", "stuck")
		}
		if want != "" {
			require.Eventually(t, func() bool { return got() == want }, time.Minute, 10*time.Millisecond, "want %s", want)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		require.NoError(t, tr.Drain(ctx))
		if bridge == nil {
			require.ErrorContains(t, admin.Switch(t.Context(), url, topo, "nowhere"), "processes live")
		}
		require.NoError(t, router.Close())
		require.NoError(t, <-done)
		require.NoError(t, tr.Close())
	}
	both := []string{"shop", "store"}
	bad := func() *badBridge {
		return &badBridge{modules: both, lose: func(store.Row) bool { return false }}
	}

	during(nil, both, "pack/free:0,1 paid/free:0,1 paid/stuck:0,1", 0, 1)
	during(nil, []string{"shop"}, "", 2, 3) // nobody handles them
	require.NoError(t, admin.Switch(t.Context(), url, topo, "nowhere"))
	_, err = sqltransport.Open(t.Context(), sqltransport.Config{URL: url}, topo, both)
	require.ErrorContains(t, err, "travels by nowhere")
	during(bad(), both, "pack/free:0,1,2,3,4 paid/free:0,1,2,3,4 paid/stuck:0,1,2,3,4", 4)

	during(refusing{}, []string{"shop"}, "", 5) // only the sender has them
	require.NoError(t, admin.Switch(t.Context(), url, topo, "postgres"))
	during(nil, both, "pack/free:0,1,2,3,4,5,6 paid/free:0,1,2,3,4,5,6 paid/stuck:0,1,2,3,4,5,6", 6)

	mended.Store(true)
	_, err = db.ExecContext(t.Context(), `UPDATE parked_messages SET state = 'retry_scheduled', next_attempt_at = now() WHERE state = 'dead'`)
	require.NoError(t, err)
	during(nil, both, "pack/free:0,1,2,3,4,5,6,7 pack/stuck:0,1,2,3,4,5,6,7 paid/free:0,1,2,3,4,5,6,7 paid/stuck:0,1,2,3,4,5,6,7", 7)
	require.NoError(t, admin.Switch(t.Context(), url, topo, "nowhere"))
	during(bad(), both, "pack/free:0,1,2,3,4,5,6,7,8 pack/stuck:0,1,2,3,4,5,6,7,8 paid/free:0,1,2,3,4,5,6,7,8 paid/stuck:0,1,2,3,4,5,6,7,8", 8)
}

// A process that was stopped while the installation was switched finds out, and
// neither handles nor publishes anything by the old transport.
func TestSwitch_StopsProcessThatWasNotRunningMeanwhile(t *testing.T) {
	t.Parallel()
	url := fresh(t)
	r := start(t, url, sqltransport.Config{Logger: slog.New(slog.DiscardHandler)}, part{name: "shop", publishes: []bus.Event{paid{}}})
	require.NoError(t, r.transport.Healthy())
	db, err := postgres.Open(t.Context(), postgres.Config{URL: url, MaxConns: 1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	_, err = db.ExecContext(t.Context(), `INSERT INTO bus.topics (name, transport) VALUES ('shop.nothing', 'nowhere')`)
	require.NoError(t, err)
	require.NoError(t, r.transport.DB("shop").InTx(t.Context(), func(tx *bus.Tx) error { return tx.Publish(paid{"order", 0}) }), "a row of no topic stops nobody")
	_, err = db.ExecContext(t.Context(), `UPDATE bus.topics SET transport = 'nowhere'`)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return r.transport.Healthy() != nil }, 60*time.Second, 10*time.Millisecond)
	err = r.transport.DB("shop").InTx(t.Context(), func(tx *bus.Tx) error { return tx.Publish(paid{"order", 1}) })
	require.ErrorContains(t, err, "messages travel by nowhere in this database now")
}

// PostgreSQL stores such JSON but fails to read a value of it as text, which would fail
// the statement and so stop the switch for one command.
func TestSwitch_MovesCommandsWhoseMetadataPostgreSQLCannotRead(t *testing.T) {
	t.Parallel()
	url := fresh(t)
	topo, err := bus.NewTopology(part{name: "shop", sends: []bus.Command{pack{}}},
		part{name: "store", subscribes: []bus.Subscription{bus.Handle(func(context.Context, *bus.Tx, pack) error { return nil })}})
	require.NoError(t, err)
	require.NoError(t, admin.Migrate(t.Context(), url, topo))
	db, err := postgres.Open(t.Context(), postgres.Config{URL: url, MaxConns: 1, Schema: "store"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	do := func(statement string) {
		t.Helper()
		_, err := db.ExecContext(t.Context(), statement)
		require.NoError(t, err)
	}
	do(`INSERT INTO offsets (subscriber, topic, partition, committed_offset) VALUES ('store', 'store.commands', 3, 1);
		INSERT INTO queue (partition, "offset", id, type, key, payload, metadata) VALUES
		(3, 1, gen_random_uuid(), 'store.pack', 'k', '{}', '{"ce_source":"stranger"}'),
		(3, 2, gen_random_uuid(), 'store.pack', 'k', '{}', '{"ce_source":"shop"}'),
		(3, 3, gen_random_uuid(), 'store.pack', 'k', '{}', '{"note":"\u0000","ce_source":"shop"}'),
		(4, 1, gen_random_uuid(), 'store.pack', 'k', '{}', '{"note":"\ud800","ce_source":"shop"}');
		INSERT INTO parked_messages (subscriber, topic, partition, "offset", message_id, type, key, payload, metadata, state, attempts, kind, error) VALUES
		('store', 'store.commands', 3, 1, gen_random_uuid(), 'store.pack', 'k', '{}', '{"ce_source":"shop","note":"\u0000"}', 'dead', 1, '', '')`)

	do(`INSERT INTO queue (partition, "offset", id, type, key, payload, metadata) VALUES (5, 1, gen_random_uuid(), 'store.pack', 'k', '{}', '{"ce_source":"nobody\u0000"}')`)
	err = admin.Switch(t.Context(), url, topo, "nowhere")
	require.Equal(t, errs.Conflict, errs.KindOf(err), "%v", err)
	require.ErrorContains(t, err, `store.commands has commands of "nobody\x00"`)
	do(`UPDATE queue SET metadata = '{}' WHERE partition = 5`)
	require.ErrorContains(t, admin.Switch(t.Context(), url, topo, "nowhere"), `store.commands has commands of ""`, "it would be lost")
	do(`DELETE FROM queue WHERE partition = 5`)

	require.NoError(t, admin.Switch(t.Context(), url, topo, "nowhere"))
	var sent, parked string
	require.NoError(t, db.QueryRowContext(t.Context(), `SELECT
		(SELECT string_agg(concat_ws('/', topic, partition, "offset"), ' ' ORDER BY partition, "offset") FROM shop.outbox),
		(SELECT string_agg(topic, ' ') FROM parked_messages)`).Scan(&sent, &parked))
	require.Equal(t, "store.commands/3/1 store.commands/3/2 store.commands/4/1", sent)
	require.Equal(t, "store.commands/shop", parked)
}
