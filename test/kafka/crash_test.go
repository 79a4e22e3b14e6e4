//go:build kafka || slow || cloudevents

package kafka

import (
	"context"
	"database/sql"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/platform/bus"
	"millrace/platform/bus/kafkabridge/fakebroker"
	"millrace/platform/postgres"
	"millrace/platform/postgres/devserver"
	"millrace/platform/postgres/pgtest"
)

// Commands are deleted from the brokers after the receiver has stored them, so they
// must be on disk by then: the database server is killed after the last deletion.
func TestConsumer_FlushesCommandsBeforeBrokersDeleteThem(t *testing.T) {
	t.Parallel()
	b := fake(t)
	s := openFragile(t, b)
	hold := s.holdHandlers()
	s.publish(10, func(tx *bus.Tx, key string, _ int) error { return tx.Send(pack{Order: key}) })
	eventually(t, "deleted commands", func() bool { return s.deleted(b) == 20 })
	s.crash()
	_ = hold.Rollback() // fails: the server was killed
	require.EqualValues(t, 20, s.checkpoint("store.commands"))
	s.publish(10, func(tx *bus.Tx, key string, i int) error { return tx.Publish(paid{Order: key, N: 10 + i}) })
	s.store.effects(20)
}

// Received records are committed without waiting for the disk, so a crash of the
// database server may lose them. The server is killed after the last record, so
// that no later record reveals the gap.
func TestConsumer_RereadsRecordsLostInADatabaseCrash(t *testing.T) {
	t.Parallel()
	b := fake(t)
	forgetting(t, b, func() {})
}

// The group rebalances between the last record and the crash, so that the consumer
// session that survives the crash has received no record.
func TestConsumer_RereadsRecordsLostInACrashInALaterSession(t *testing.T) {
	t.Parallel()
	b := fake(t)
	var joined, fetched atomic.Bool
	watch := func(key kmsg.Key, note func()) {
		b.Fault(kfake.Fault{Keys: []kmsg.Key{key}, Observe: true, Count: -1, When: func(kmsg.Request) bool { note(); return true }})
	}
	watch(kmsg.SyncGroup, func() { joined.Store(true) })
	watch(kmsg.Fetch, func() { fetched.Store(joined.Load()) })
	forgetting(t, b, func() {
		joined.Store(false)
		fetched.Store(false)
		b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, Group: "store", TopLevel: true, Err: kerr.UnknownMemberID, Count: 1})
		eventually(t, "another session", fetched.Load)
	})
}

// forgetting publishes, waits until everything is received, calls between, and
// crashes the store's server. It repeats this until a crash has lost records, and
// requires that all of them are read again.
func forgetting(t *testing.T, b *fakebroker.Broker, between func()) {
	s := openFragile(t, b)
	for n := int64(20); ; n += 10 {
		hold := s.holdHandlers()
		s.publish(10, func(tx *bus.Tx, key string, i int) error { return tx.Publish(paid{Order: key, N: int(n) + i}) })
		s.received("shop.events", n)
		between()
		// Block fetches until the checkpoint after the crash has been read.
		unread := b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Err: kerr.NotLeaderForPartition, Count: -1})
		s.crash()
		_ = hold.Rollback() // fails: the server was killed
		has := s.checkpoint("shop.events")
		unread.Remove()
		s.received("shop.events", n)
		s.publish(10, func(tx *bus.Tx, key string, _ int) error { return tx.Send(pack{Order: key}) })
		s.store.effects(int(n))
		if has < n {
			t.Logf("%d of 10 events were forgotten", n-has)
			return
		}
		require.Less(t, n, int64(200), "no crash makes it forget anything")
	}
}

// fragile has a store on its own database server, which keeps asynchronous commits in
// memory for up to ten seconds, and a shop on another server.
type fragile struct {
	t           *testing.T
	shop, store *opened
	cfg         devserver.Config
	server      *devserver.Server
}

func openFragile(t *testing.T, b *fakebroker.Broker) *fragile {
	t.Helper()
	s := &fragile{t: t, cfg: devserver.Config{DataDir: pgtest.Dir(t) + "/data"}}
	s.start()
	t.Cleanup(func() { require.NoError(t, s.server.Stop()) }) // the current one, after the processes have ended
	ctx := t.Context()
	require.NoError(t, s.server.CreateDatabase(ctx, "store"))
	cfg := configFor(b.Addresses())
	cfg.SendTimeout = patience // a timeout may send a record twice, and the test counts records
	s.shop = &opened{t: t, cfg: cfg, url: pgtest.URL(t)}
	// A long lease: each renewal would flush all earlier commits to disk.
	s.store = &opened{t: t, cfg: s.shop.cfg, url: s.server.URL("store"), lease: time.Minute}
	s.shop.topo, s.store.topo = modules(t, 0, &s.shop.working), modules(t, 0, &s.store.working)
	s.shop.begin([]string{"shop"})
	s.store.begin([]string{"store"})
	for _, setting := range []string{"wal_writer_delay", "bgwriter_delay"} {
		_, err := s.store.db.ExecContext(ctx, `ALTER SYSTEM SET `+setting+` = '10s'`)
		require.NoError(t, err)
	}
	require.Equal(t, "on", s.store.text(`SELECT current_setting('fsync')`))
	require.Equal(t, "true", s.store.text(`SELECT pg_reload_conf()`))
	s.shop.publish(0, 10)
	s.store.effects(10)
	return s
}

func (s *fragile) start() {
	s.t.Helper()
	server, err := devserver.Start(s.t.Context(), s.cfg)
	require.NoError(s.t, err)
	s.server = server
}

// crash kills the database server and starts it again. The store's process keeps running.
func (s *fragile) crash() {
	s.t.Helper()
	process, err := os.FindProcess(s.server.PID())
	require.NoError(s.t, err)
	require.NoError(s.t, process.Kill())
	<-s.server.Done()
	_ = s.server.Stop() // unlocks its data folder
	s.start()
	s.store.db.SetMaxIdleConns(0) // drops the dead connections
	s.store.db.SetMaxIdleConns(2)
}

// publish calls publish in n transactions of shop, with five keys in turn.
func (s *fragile) publish(n int, publish func(tx *bus.Tx, key string, i int) error) {
	s.t.Helper()
	for i := range n {
		require.NoError(s.t, s.shop.DB("shop").InTx(s.t.Context(), func(tx *bus.Tx) error {
			return publish(tx, "order-"+string(rune('a'+i%5)), i)
		}))
	}
}

// holdHandlers blocks the commits of handlers until the server crashes: they would
// flush all earlier commits to disk.
func (s *fragile) holdHandlers() *sql.Tx {
	s.t.Helper()
	db, err := postgres.Open(s.t.Context(), postgres.Config{URL: s.store.url, MaxConns: 1, IdleInTxTimeout: time.Hour})
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = db.Close() })
	tx, err := db.BeginTx(context.WithoutCancel(s.t.Context()), nil)
	require.NoError(s.t, err)
	_, err = tx.ExecContext(s.t.Context(), `SELECT FROM store.offsets FOR UPDATE`)
	require.NoError(s.t, err)
	return tx
}

// checkpoint is how many records of a topic the store's database has received.
func (s *fragile) checkpoint(topic string) (n int64) {
	s.t.Helper()
	require.NoError(s.t, s.store.db.QueryRowContext(s.t.Context(), `SELECT coalesce(sum("offset"), 0) FROM store.checkpoints WHERE topic = $1`, topic).Scan(&n))
	return n
}

func (s *fragile) received(topic string, n int64) {
	s.t.Helper()
	eventually(s.t, "what arrives from "+topic, func() bool { return s.checkpoint(topic) == n })
}

// deleted is how many commands were deleted from the brokers.
func (s *fragile) deleted(b *fakebroker.Broker) (n int64) {
	for _, p := range b.PartitionInfos("store.commands") {
		n += p.LogStartOffset
	}
	return n
}
