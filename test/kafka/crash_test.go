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
	"millrace/platform/bus/kafkatransport/fakebroker"
	"millrace/platform/postgres"
	"millrace/platform/postgres/devserver"
	"millrace/platform/postgres/pgtest"
)

// TestCommandsThatTheBrokersNoLongerHaveAreOnTheDisk: the server is killed when
// the brokers have deleted the last of them.
func TestCommandsThatTheBrokersNoLongerHaveAreOnTheDisk(t *testing.T) {
	t.Parallel()
	b := fake(t)
	s := openFragile(t, b)
	hold := s.holdHandlers()
	s.say(10, func(tx *bus.Tx, key string, _ int) error { return tx.Send(pack{Order: key}) })
	eventually(t, "deleted commands", func() bool { return s.deleted(b) == 20 })
	s.crash()
	_ = hold.Rollback() // it has gone with the server
	require.EqualValues(t, 20, s.mark("store.commands"))
	s.say(10, func(tx *bus.Tx, key string, i int) error { return tx.Publish(paid{Order: key, N: 10 + i}) })
	s.store.effects(20)
}

// TestWhatACrashOfTheDatabaseForgetsIsReadAgain: the server is killed when the
// last record of all has arrived. What arrived did not wait for the disk, so it is
// forgotten, and nothing comes after it that would show that.
func TestWhatACrashOfTheDatabaseForgetsIsReadAgain(t *testing.T) {
	t.Parallel()
	b := fake(t)
	forgetting(t, b, func() {})
}

// TestWhatACrashForgetsIsReadAgainInALaterSession: the group has met again between
// the last record and the crash, so that nothing has arrived in the session that
// goes on after it.
func TestWhatACrashForgetsIsReadAgainInALaterSession(t *testing.T) {
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

// forgetting crashes the store's server when everything has arrived and between
// has been done. It has to forget something.
func forgetting(t *testing.T, b *fakebroker.Broker, between func()) {
	s := openFragile(t, b)
	for n := int64(20); ; n += 10 {
		hold := s.holdHandlers()
		s.say(10, func(tx *bus.Tx, key string, i int) error { return tx.Publish(paid{Order: key, N: int(n) + i}) })
		s.received("shop.events", n)
		between()
		// Nothing is read again before we have looked what is there.
		unread := b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Err: kerr.NotLeaderForPartition, Count: -1})
		s.crash()
		_ = hold.Rollback() // it has gone with the server
		has := s.mark("shop.events")
		unread.Remove()
		s.received("shop.events", n)
		s.say(10, func(tx *bus.Tx, key string, _ int) error { return tx.Send(pack{Order: key}) })
		s.store.effects(int(n))
		if has < n {
			t.Logf("%d of 10 events were forgotten", n-has)
			return
		}
		require.Less(t, n, int64(200), "no crash makes it forget anything")
	}
}

// fragile is a store whose database has a server of its own, which keeps what did
// not have to wait for the disk in memory for long; and a shop elsewhere.
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
	t.Cleanup(func() { require.NoError(t, s.server.Stop()) }) // the last of them, when nobody needs it any more
	ctx := t.Context()
	require.NoError(t, s.server.CreateDatabase(ctx, "store"))
	cfg := onReal(b.Addresses())
	cfg.SendTimeout = patience // what takes longer may be sent twice, and the records are counted here
	s.shop = &opened{t: t, cfg: cfg, url: pgtest.URL(t)}
	// A lease that is renewed takes to the disk what was written before.
	s.store = &opened{t: t, cfg: s.shop.cfg, url: s.server.URL("store"), lease: 10 * time.Minute}
	s.shop.topo, s.store.topo = houses(t, 0, &s.shop.working), houses(t, 0, &s.store.working)
	s.shop.begin([]string{"shop"})
	s.store.begin([]string{"store"})
	for _, setting := range []string{"wal_writer_delay", "bgwriter_delay"} {
		_, err := s.store.db.ExecContext(ctx, `ALTER SYSTEM SET `+setting+` = '10s'`)
		require.NoError(t, err)
	}
	require.Equal(t, "on", s.store.text(`SELECT current_setting('fsync')`))
	require.Equal(t, "true", s.store.text(`SELECT pg_reload_conf()`))
	s.shop.say(0, 10)
	s.store.effects(10)
	return s
}

func (s *fragile) start() {
	s.t.Helper()
	server, err := devserver.Start(s.t.Context(), s.cfg)
	require.NoError(s.t, err)
	s.server = server
}

// crash kills the server and starts it again. The store's process lives on.
func (s *fragile) crash() {
	s.t.Helper()
	process, err := os.FindProcess(s.server.PID())
	require.NoError(s.t, err)
	require.NoError(s.t, process.Kill())
	<-s.server.Done()
	_ = s.server.Stop() // gives the folder free
	s.start()
	s.store.db.SetMaxIdleConns(0) // they have ended
	s.store.db.SetMaxIdleConns(2)
}

// say has the shop say n things of five keys.
func (s *fragile) say(n int, what func(tx *bus.Tx, key string, i int) error) {
	s.t.Helper()
	for i := range n {
		require.NoError(s.t, s.shop.DB("shop").InTx(s.t.Context(), func(tx *bus.Tx) error {
			return what(tx, "order-"+string(rune('a'+i%5)), i)
		}))
	}
}

// holdHandlers lets none commit, which would take to the disk what was written
// before, until the server crashes.
func (s *fragile) holdHandlers() *sql.Tx {
	s.t.Helper()
	db, err := postgres.Open(s.t.Context(), postgres.Config{URL: s.store.url, MaxConns: 1, IdleInTxTimeout: time.Hour})
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = db.Close() })
	tx, err := db.BeginTx(context.WithoutCancel(s.t.Context()), nil)
	require.NoError(s.t, err)
	_, err = tx.ExecContext(s.t.Context(), `SELECT FROM store.positions FOR UPDATE`)
	require.NoError(s.t, err)
	return tx
}

// mark is how much of a topic the store's database has received.
func (s *fragile) mark(topic string) (n int64) {
	s.t.Helper()
	require.NoError(s.t, s.store.db.QueryRowContext(s.t.Context(), `SELECT coalesce(sum("offset"), 0) FROM store.received WHERE topic = $1`, topic).Scan(&n))
	return n
}

func (s *fragile) received(topic string, n int64) {
	s.t.Helper()
	eventually(s.t, "what arrives from "+topic, func() bool { return s.mark(topic) == n })
}

// deleted is how many commands the brokers no longer have.
func (s *fragile) deleted(b *fakebroker.Broker) (n int64) {
	for _, p := range b.PartitionInfos("store.commands") {
		n += p.LogStartOffset
	}
	return n
}
