package deadletter_test

import (
	"context"
	"database/sql"
	"log/slog"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
	"millrace/platform/bus/admin"
	"millrace/platform/bus/bustest"
	"millrace/platform/bus/deadletter"
	"millrace/platform/bus/sqltransport"
	"millrace/platform/errs"
	"millrace/platform/postgres"
	"millrace/platform/postgres/pgtest"
)

type paid struct {
	Order string `json:"order"`
	N     int    `json:"n"`
}

func (paid) EventName() string { return "shop.paid" }
func (p paid) Key() string     { return p.Order }

// returned is an event that only a newer version of the store subscribes to.
type returned struct {
	Order string `json:"order"`
}

func (returned) EventName() string { return "shop.returned" }
func (r returned) Key() string     { return r.Order }

type shop struct{ quiet }

func (shop) Publishes() []bus.Event { return []bus.Event{paid{}, returned{}} }

type store struct {
	quiet
	subscriptions []bus.Subscription
}

func (s store) Subscriptions() []bus.Subscription { return s.subscriptions }

// serve runs a shop and a store with these subscriptions, until stop or the test's end.
func serve(t *testing.T, url string, subscriptions ...bus.Subscription) (transport *sqltransport.Transport, stop func()) {
	t.Helper()
	topo, err := bus.NewTopology(shop{quiet{"shop"}}, store{quiet{"store"}, subscriptions})
	require.NoError(t, err)
	require.NoError(t, admin.Migrate(t.Context(), url, topo))
	transport, err = sqltransport.Open(t.Context(), sqltransport.Config{URL: url, Poll: time.Hour}, topo, topo.Modules())
	require.NoError(t, err)
	router, err := bus.NewRouter(topo, topo.Modules(), transport.Subscriber, slog.Default(), watermill.NopLogger{})
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- router.Run(context.Background()) }()
	<-router.Running()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		require.NoError(t, transport.Drain(ctx))
		require.NoError(t, router.Close())
		require.NoError(t, <-done)
		require.NoError(t, transport.Close())
	}
	t.Cleanup(stop)
	return transport, stop
}

func open(t *testing.T, url string) *sql.DB {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Config{URL: url, MaxConns: 5})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

func text(t *testing.T, db *sql.DB, query string) (answer string) {
	t.Helper()
	require.NoError(t, db.QueryRowContext(t.Context(), query).Scan(&answer), query)
	return answer
}

// taken is the next message of a handler that passes on what it gets.
func taken[T any](t *testing.T, from <-chan T) (m T) {
	t.Helper()
	select {
	case m = <-from:
	case <-time.After(time.Minute):
		t.Fatal("nothing was handled within a minute")
	}
	return m
}

func publish(t *testing.T, transport *sqltransport.Transport, events ...bus.Event) {
	t.Helper()
	require.NoError(t, transport.DB("shop").InTx(t.Context(), func(tx *bus.Tx) error {
		for _, event := range events {
			if err := tx.Publish(event); err != nil {
				return err
			}
		}
		return nil
	}))
}

func TestForget_BlocksNoKeyAndSkipsTypeFromThenOn(t *testing.T) {
	t.Parallel()
	url := bustest.Database(t, modules...)
	got := make(chan paid, 100)
	onPaid := bus.On(func(_ context.Context, _ *bus.Tx, p paid) error { got <- p; return nil })
	_, stop := serve(t, url, onPaid, bus.On(func(context.Context, *bus.Tx, returned) error { return nil }))
	db := open(t, url)
	forget := func() (deadletter.Forgotten, error) {
		return deadletter.Forget(t.Context(), db, modules, "store", "shop.returned", "kim", "the release was taken back for good")
	}
	require.Eventually(t, func() bool {
		return text(t, db, `SELECT count(*)::text FROM bus.nodes WHERE subscriptions <> '{}'`) == "1"
	}, time.Minute, 10*time.Millisecond)
	_, err := forget()
	require.Equal(t, errs.Conflict, errs.KindOf(err), err)
	require.ErrorContains(t, err, text(t, db, `SELECT 'process ' || id FROM bus.nodes`))
	require.Equal(t, "2", text(t, db, `SELECT count(*)::text FROM bus.registrations`), "nothing was changed")
	stop()

	older, _ := serve(t, url, onPaid)
	publish(t, older, returned{"order-1"}, paid{"order-1", 1}, paid{"order-2", 1})
	require.Equal(t, paid{"order-2", 1}, taken(t, got), "another key goes on")
	require.Eventually(t, func() bool { return text(t, db, `SELECT count(*)::text FROM store.parked_messages`) == "2" }, time.Minute, 10*time.Millisecond)
	letters, err := deadletter.List(t.Context(), db, modules, 1000)
	require.NoError(t, err)
	require.Len(t, letters, 1)
	require.Equal(t, []any{"awaiting_version", "shop.returned", "order-1", 1, "unknown"}, []any{letters[0].State, letters[0].Type, letters[0].Key, letters[0].Behind, letters[0].Kind})
	require.Contains(t, letters[0].Error, "another version of the module")
	err = deadletter.Retry(t.Context(), db, modules, letters[0].ID)
	require.Equal(t, errs.Conflict, errs.KindOf(err))
	require.ErrorContains(t, err, "for a version of store that knows shop.returned")

	done, err := forget()
	require.NoError(t, err)
	require.Equal(t, deadletter.Forgotten{Discarded: 1}, done)
	require.Equal(t, paid{"order-1", 1}, taken(t, got), "what waited behind it goes on")
	require.Equal(t, "discarded by kim: the release was taken back for good", text(t, db, `SELECT state || ' by ' || decided_by || ': ' || reason FROM store.parked_messages WHERE type = 'shop.returned' AND decided_at IS NOT NULL`))

	publish(t, older, returned{"order-1"}, paid{"order-1", 2})
	require.Equal(t, paid{"order-1", 2}, taken(t, got), "a later one of the type is skipped")
	require.Equal(t, "0", text(t, db, `SELECT count(*)::text FROM store.parked_messages WHERE state <> 'discarded' AND type = 'shop.returned'`))
	_, err = forget()
	require.Equal(t, errs.NotFound, errs.KindOf(err), err)
}

func TestForget_IncludesMessagesOfBatchInFlight(t *testing.T) {
	t.Parallel()
	url := bustest.Database(t, modules...)
	began, goOn := make(chan bool, 100), make(chan bool)
	older, _ := serve(t, url, bus.On(func(context.Context, *bus.Tx, paid) error {
		began <- true
		<-goOn
		return nil
	}))
	db := open(t, url)
	_, err := db.ExecContext(t.Context(), `INSERT INTO bus.registrations (subscriber, type) VALUES ('store', 'shop.returned')`)
	require.NoError(t, err)
	publish(t, older, paid{"order-1", 1}, returned{"order-1"}) // one batch, which has read the registrations when its first handler begins
	taken(t, began)
	type outcome struct {
		deadletter.Forgotten
		err error
	}
	ended := make(chan outcome, 1)
	go func() {
		done, err := deadletter.Forget(t.Context(), db, modules, "store", "shop.returned", "kim", "a test")
		ended <- outcome{done, err}
	}()
	require.Eventually(t, func() bool {
		return len(ended) > 0 || text(t, db, `SELECT count(*)::text FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE datname = current_database() AND relation = 'bus.registrations'::regclass AND NOT granted`) != "0"
	}, time.Minute, time.Millisecond)
	close(goOn)
	done := taken(t, ended)
	require.NoError(t, done.err)
	require.Equal(t, 1, done.Discarded)
	require.Equal(t, "discarded", text(t, db, `SELECT string_agg(state, ',') FROM store.parked_messages WHERE type = 'shop.returned'`))
}

// TestForget_DiscardsOnlyMessagesAwaitingVersion has till.back as the type that is
// forgotten: at offsets 7 (behind the dead letter of key a), 8 and 12.
func TestForget_DiscardsOnlyMessagesAwaitingVersion(t *testing.T) {
	t.Parallel()
	db := letters(t)
	_, err := db.ExecContext(t.Context(), `
		INSERT INTO store.parked_messages (subscriber, topic, partition, "offset", message_id, type, key, payload, metadata, state, attempts, next_attempt_at, kind, error)
		SELECT 'store', 'till.events', 5, o, gen_random_uuid(), type, k, '', '{}', s, 0, CASE s WHEN 'retry_scheduled' THEN now() END, 'unknown', e
		FROM (VALUES
			(7, 'a', 'till.back', 'awaiting_version', 'another version of the module has subscribed to the type'),
			(8, 'd', 'till.back', 'awaiting_version', 'another version of the module has subscribed to the type'),
			(9, 'd', 'till.paid', 'blocked', 'behind an earlier message of its key'),
			(10, 'e', 'till.back', 'dead', 'failed'),
			(11, 'e', 'till.back', 'blocked', 'behind an earlier message of its key'),
			(12, 'f', 'till.back', 'awaiting_version', 'this version of the module does not know the command'),
			(13, 'g', 'till.other', 'awaiting_version', 'another version of the module has subscribed to the type')) AS rows(o, k, type, s, e)`)
	require.NoError(t, err)
	_, err = deadletter.Forget(t.Context(), db, modules, "store", "till.back", "", "a reason")
	require.Equal(t, "by", errs.FieldOf(err))
	_, err = deadletter.Forget(t.Context(), db, modules, "till", "till.back", "kim", "a reason")
	require.Equal(t, "module", errs.FieldOf(err))

	done, err := deadletter.Forget(t.Context(), db, modules, "store", "till.back", "kim", "a reason")
	require.NoError(t, err, "nothing is registered, but held")
	require.Equal(t, deadletter.Forgotten{Discarded: 3, Left: 2}, done)
	require.Equal(t, "9:blocked 10:dead 11:blocked 13:awaiting_version", text(t, db, `SELECT string_agg("offset" || ':' || state, ' ' ORDER BY "offset") FROM store.parked_messages WHERE "offset" > 6 AND state <> 'discarded'`))
	require.Equal(t, "0", text(t, db, `SELECT count(*)::text FROM shop.parked_messages WHERE decided_by <> ''`), "another module's")
	_, err = deadletter.Forget(t.Context(), db, modules, "store", "till.back", "kim", "a reason")
	require.Equal(t, errs.NotFound, errs.KindOf(err))
	require.ErrorContains(t, err, "2 messages of the type")
}

// TestForget_DiscardsMessagesLeftByRevertedVersion: it had begun with the
// messages, and only its successors do not know them.
func TestForget_DiscardsMessagesLeftByRevertedVersion(t *testing.T) {
	t.Parallel()
	db := letters(t)
	process := func(subscriptions string) {
		_, err := db.ExecContext(t.Context(), `DELETE FROM bus.nodes`)
		require.NoError(t, err)
		_, err = db.ExecContext(t.Context(), `INSERT INTO bus.nodes (id, modules, subscriptions, expires_at) VALUES (gen_random_uuid(), '{store}', $1, clock_timestamp() + interval '100 seconds')`, subscriptions)
		require.NoError(t, err)
	}
	shown := func() (all string) {
		found, err := deadletter.List(t.Context(), db, []string{"store"}, 1000)
		require.NoError(t, err)
		for _, l := range found {
			if l.State != deadletter.Dead {
				all += l.State + " " + l.Key + " "
			}
		}
		return all
	}
	_, err := db.ExecContext(t.Context(), `UPDATE store.parked_messages SET error = 'behind an earlier message of its key' WHERE state = 'blocked'`)
	require.NoError(t, err)
	require.NoError(t, deadletter.Discard(t.Context(), db, modules, "store/1", "kim", "a test"))
	require.Empty(t, shown(), "no process runs: the next one may know them")
	process("{store/till.paid}")
	require.Empty(t, shown(), "they go on at once")
	require.Equal(t, errs.Conflict, errs.KindOf(deadletter.Discard(t.Context(), db, modules, "store/2", "kim", "a test")))
	process("{store/till.other}")
	require.Equal(t, "retry_scheduled b blocked a ", shown())
	require.Equal(t, errs.Conflict, errs.KindOf(deadletter.Retry(t.Context(), db, modules, "store/4")))
	require.NoError(t, deadletter.Discard(t.Context(), db, modules, "store/4", "kim", "a test"))
	require.NoError(t, deadletter.Discard(t.Context(), db, modules, "store/2", "kim", "a test"))
	require.Equal(t, "blocked a ", shown(), "the next of its key")
	require.Equal(t, errs.Conflict, errs.KindOf(deadletter.Discard(t.Context(), db, modules, "store/2", "lee", "me too")))
}

func TestForget_NeedsOwnerOfTables(t *testing.T) {
	t.Parallel()
	role := pgtest.RolePrefix(t) + "store"
	url := bustest.Database(t, modules...)
	db := open(t, url)
	topo, err := bus.NewTopology(quiet{"shop"}, quiet{"store"})
	require.NoError(t, err)
	require.NoError(t, admin.Migrate(t.Context(), url, topo))
	for _, statement := range []string{
		`CREATE ROLE ` + role, `GRANT USAGE ON SCHEMA bus, store TO ` + role, `GRANT SELECT, INSERT ON bus.registrations TO ` + role,
		`GRANT SELECT, UPDATE ON store.parked_messages TO ` + role, `INSERT INTO bus.registrations VALUES ('store', 'till.back')`,
	} {
		_, err := db.ExecContext(t.Context(), statement)
		require.NoError(t, err, statement)
	}
	asRole, err := postgres.Open(t.Context(), postgres.Config{URL: url, Role: role, MaxConns: 1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, asRole.Close()) })
	_, err = deadletter.Forget(t.Context(), asRole, modules, "store", "till.back", "kim", "a reason")
	require.Equal(t, errs.Forbidden, errs.KindOf(err), err)
	require.ErrorContains(t, err, "the owner of the tables")
	_, err = deadletter.Forget(t.Context(), db, modules, "store", "till.back", "kim", "a reason")
	require.NoError(t, err)
}
