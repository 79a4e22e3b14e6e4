package sqltransport_test

import (
	"context"
	"database/sql"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
	"millrace/platform/bus/admin"
	"millrace/platform/bus/sqltransport"
	"millrace/platform/bus/store"
	"millrace/platform/errs"
	"millrace/platform/postgres"
)

// rung is an event of another module than paid, with the same fields.
type rung struct {
	Order string `json:"order"`
	N     int    `json:"n"`
}

func (rung) EventName() string { return "till.rung" }
func (r rung) Key() string     { return r.Order }

// forgery is a database in which the store subscribes to the shop and the till.
type forgery struct {
	t       *testing.T
	url     string
	parts   []bus.Module
	db      *sql.DB // search path: store
	mended  atomic.Bool
	failing string // key of messages that fail until mended
}

func newForgery(t *testing.T) *forgery {
	t.Helper()
	f := &forgery{t: t, url: fresh(t)}
	note := func(ctx context.Context, tx *bus.Tx, kind, key string) error {
		if key == f.failing && !f.mended.Load() {
			return errs.New(errs.Invalid, "not yet")
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO effects (kind, key) VALUES ($1, $2)`, kind, key)
		return err
	}
	f.parts = []bus.Module{
		part{name: "shop", publishes: []bus.Event{paid{}}, sends: []bus.Command{pack{}}},
		part{name: "till", publishes: []bus.Event{rung{}}, sends: []bus.Command{pack{}}},
		part{name: "store", subscribes: []bus.Subscription{
			bus.On(func(ctx context.Context, tx *bus.Tx, p paid) error { return note(ctx, tx, "paid", p.Order) }),
			bus.On(func(ctx context.Context, tx *bus.Tx, p rung) error { return note(ctx, tx, "rung", p.Order) }),
			bus.Handle(func(ctx context.Context, tx *bus.Tx, p pack) error { return note(ctx, tx, "pack", p.Order) }),
		}},
	}
	topo, err := bus.NewTopology(f.parts...)
	require.NoError(t, err)
	require.NoError(t, admin.Migrate(t.Context(), f.url, topo))
	f.db, err = postgres.Open(t.Context(), postgres.Config{URL: f.url, Schema: "store", MaxConns: 2})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.db.Close()) })
	f.exec(`CREATE TABLE effects (kind text, key text)`)
	return f
}

func (f *forgery) exec(statement string, args ...any) {
	f.t.Helper()
	_, err := f.db.ExecContext(f.t.Context(), statement, args...)
	require.NoError(f.t, err, statement)
}

// appends writes a message as a module's role may.
func (f *forgery) appends(function, id, messageType, key, source string) {
	f.t.Helper()
	f.exec(`SELECT `+function+`($1::smallint, $2, $3, $4, convert_to(json_build_object('order', $4::text, 'n', 0)::text, 'UTF8'), json_build_object('ce_source', $5::text))`,
		store.PartitionOf(key), id, messageType, key, source)
}

func (f *forgery) becomes(want, query string) {
	f.t.Helper()
	require.Eventually(f.t, func() bool {
		var got string
		require.NoError(f.t, f.db.QueryRowContext(f.t.Context(), query).Scan(&got))
		return got == want
	}, time.Minute, 10*time.Millisecond, "want %s", want)
}

const forgedID, otherID = "00000000-0000-7000-8000-000000000001", "00000000-0000-7000-8000-000000000002"

const effectsOf = `SELECT coalesce(string_agg(kind || ' ' || key, ', ' ORDER BY kind, key), '') FROM effects`

// A module's role knows the ids in the logs that it reads, and may append a message
// with such an id to its own log.
func TestInbox_SameIDInAnotherModulesLogHidesNothing(t *testing.T) {
	t.Parallel()
	t.Run("BothWait", func(t *testing.T) { // one batch may handle both
		t.Parallel()
		f := newForgery(t)
		f.appends("till.append_log_one", forgedID, "till.rung", "order", "till")
		f.appends("shop.append_log_one", forgedID, "shop.paid", "order", "shop")
		start(t, f.url, sqltransport.Config{}, f.parts...)
		f.becomes("paid order, rung order", effectsOf)
	})
	t.Run("OneByOne", func(t *testing.T) {
		t.Parallel()
		f := newForgery(t)
		start(t, f.url, sqltransport.Config{Poll: 50 * time.Millisecond}, f.parts...)
		f.appends("till.append_log_one", forgedID, "till.rung", "order", "till")
		f.becomes("rung order", effectsOf)
		f.appends("shop.append_log_one", forgedID, "shop.paid", "order", "shop")
		f.becomes("paid order, rung order", effectsOf)
	})
	t.Run("Parked", func(t *testing.T) {
		t.Parallel()
		f := newForgery(t)
		f.failing = "order"
		start(t, f.url, sqltransport.Config{Poll: 50 * time.Millisecond}, f.parts...)
		f.appends("till.append_log_one", forgedID, "till.rung", "order", "till")
		f.appends("shop.append_log_one", forgedID, "shop.paid", "order", "shop")
		const parked = `SELECT coalesce(string_agg(type || ' ' || state, ', ' ORDER BY type), '') FROM parked_messages`
		f.becomes("shop.paid dead, till.rung dead", parked)
		f.mended.Store(true)
		f.exec(`UPDATE parked_messages SET state = 'discarded' WHERE type = 'till.rung'`)
		f.exec(`UPDATE parked_messages SET state = 'retry_scheduled', next_attempt_at = now() WHERE type = 'shop.paid'`)
		f.becomes("paid order", effectsOf)
		f.becomes("till.rung discarded", parked)
	})
	t.Run("Discarded", func(t *testing.T) {
		t.Parallel()
		f := newForgery(t)
		f.failing = "order"
		start(t, f.url, sqltransport.Config{Poll: 50 * time.Millisecond}, f.parts...)
		f.appends("till.append_log_one", forgedID, "till.rung", "order", "till")
		f.becomes("dead", `SELECT coalesce(max(state), '') FROM parked_messages`)
		f.exec(`UPDATE parked_messages SET state = 'discarded'`)
		f.mended.Store(true)
		f.appends("shop.append_log_one", forgedID, "shop.paid", "order", "shop")
		f.becomes("paid order", effectsOf)
	})
}

// A command comes to the queue directly, or through the table inbound with its
// sender in the topic's name: it is one message.
func TestInbox_CommandOfAnotherSenderIsTheSameMessage(t *testing.T) {
	t.Parallel()
	f := newForgery(t)
	f.exec(`INSERT INTO inbox (message_id, subscriber, topic, partition, "offset") VALUES ($1, 'store', 'store.commands/shop', 0, 1)`, forgedID)
	_, err := f.db.ExecContext(t.Context(), `INSERT INTO inbox (message_id, subscriber, topic, partition, "offset") VALUES ($1, 'store', 'store.commands/till', 0, 1)`, forgedID)
	require.ErrorContains(t, err, "duplicate key")
	start(t, f.url, sqltransport.Config{}, f.parts...)
	f.appends("store.append_queue_one", forgedID, "store.pack", "order", "shop")
	f.appends("store.append_queue_one", otherID, "store.pack", "order", "shop")
	f.becomes("pack order", effectsOf)
	f.becomes("1", `SELECT count(*)::text FROM inbox WHERE message_id = '`+forgedID+`'`)
}

// A module's role may append to its own log and to the queues of modules to which it
// sends commands, whatever the type and the source that it names.
func TestForged_TypeOfAnotherTopicIsADeadLetterThatBlocksNothing(t *testing.T) {
	t.Parallel()
	f := newForgery(t)
	start(t, f.url, sqltransport.Config{Poll: 50 * time.Millisecond}, f.parts...)
	f.appends("till.append_log_one", forgedID, "shop.paid", "order", "till")
	f.appends("store.append_queue_one", otherID, "till.rung", "order", "shop")
	f.becomes("dead store.commands, dead till.events", `SELECT coalesce(string_agg(state || ' ' || topic, ', ' ORDER BY topic), '') FROM parked_messages`)
	f.becomes("its type shop.paid belongs to the topic shop.events, and it came in till.events: find out who wrote it there",
		`SELECT coalesce(max(error), '') FROM parked_messages WHERE topic = 'till.events'`)
	f.appends("till.append_log_one", "00000000-0000-7000-8000-000000000003", "till.rung", "order", "till")
	f.appends("store.append_queue_one", "00000000-0000-7000-8000-000000000004", "store.pack", "order", "shop")
	f.becomes("pack order, rung order", effectsOf)
}

// A module's role could make dead letters with texts of its choice in other modules.
func TestForged_TypeOfTheBusItselfIsRefused(t *testing.T) {
	t.Parallel()
	f := newForgery(t)
	start(t, f.url, sqltransport.Config{Poll: 50 * time.Millisecond}, f.parts...)
	for i, messageType := range []string{"millrace.refused", "millrace.lost", "millrace.lost.rest", "unreadable"} {
		f.appends("till.append_log_one", "00000000-0000-7000-8000-00000000001"+strconv.Itoa(i), messageType, "order", "till")
	}
	f.appends("till.append_log_one", otherID, "till.rung", "order", "till")
	f.becomes("rung order", effectsOf)
	f.becomes("4", `SELECT count(*)::text FROM parked_messages WHERE type = 'millrace.refused' AND error LIKE 'its type % is one of the bus itself%'`)
}

func TestForged_SourceOfAnEventIsTheModuleOfItsLog(t *testing.T) {
	t.Parallel()
	url, got := fresh(t), make(chan string, 1)
	r := start(t, url, sqltransport.Config{Poll: 50 * time.Millisecond},
		part{name: "shop", publishes: []bus.Event{paid{}}},
		part{name: "store", subscribes: []bus.Subscription{bus.OnEvery(func(_ context.Context, _ *bus.Tx, m bus.Received) error {
			got <- m.Source
			return nil
		})}})
	require.NoError(t, r.transport.DB("shop").InTx(t.Context(), func(tx *bus.Tx) error {
		_, err := tx.ExecContext(t.Context(), `SELECT append_log_one(1::smallint, $1, 'shop.paid', 'order', '{}', '{"ce_source":"till"}')`, forgedID)
		return err
	}))
	require.Equal(t, "shop", waitFor(t, "the event", got))
}
