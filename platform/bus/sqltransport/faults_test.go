package sqltransport_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
	"millrace/platform/bus/sqltransport"
	"millrace/platform/bus/store"
	"millrace/platform/errs"
	"millrace/platform/postgres"
)

// cutter is a proxy before the server that breaks one connection when a text
// passes: before the server gets it, or after, so that only the answer is lost.
type cutter struct {
	network, server string
	mu              sync.Mutex
	needle          string
	answer          bool // let it pass, and lose the answer
	cut             chan struct{}
	open            map[net.Conn]bool
}

func newCutter(t *testing.T, target string) (*cutter, string) {
	t.Helper()
	u, err := url.Parse(target)
	require.NoError(t, err)
	c := &cutter{network: "tcp", server: u.Host, cut: make(chan struct{}, 1), open: map[net.Conn]bool{}}
	if dir := u.Query().Get("host"); dir != "" {
		c.network, c.server = "unix", filepath.Join(dir, ".s.PGSQL."+u.Query().Get("port"))
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, listener.Close()) })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			c.mu.Lock()
			c.open[client] = true
			c.mu.Unlock()
			go c.serve(client)
		}
	}()
	return c, "postgres://" + u.User.String() + "@" + listener.Addr().String() + u.Path + "?sslmode=disable"
}

func (c *cutter) serve(client net.Conn) {
	server, err := net.Dial(c.network, c.server)
	if err != nil {
		_ = client.Close() // the server is gone: the test fails elsewhere
		return
	}
	defer func() {
		_ = client.Close() // it may be cut already
		_ = server.Close() // likewise
		c.mu.Lock()
		delete(c.open, client)
		c.mu.Unlock()
	}()
	var lose atomic.Bool
	go func() {
		defer client.Close() //nolint:errcheck // likewise
		buffer := make([]byte, 64<<10)
		for {
			n, err := server.Read(buffer)
			if err != nil {
				return
			}
			if lose.Load() { // the server has done it, and no reply comes
				c.cut <- struct{}{}
				return
			}
			if _, err := client.Write(buffer[:n]); err != nil {
				return
			}
		}
	}()
	buffer := make([]byte, 64<<10)
	for {
		n, err := client.Read(buffer)
		if err != nil {
			return
		}
		hit, answer := c.hit(buffer[:n])
		if hit && !answer {
			c.cut <- struct{}{}
			return
		}
		if hit {
			lose.Store(true)
		}
		if _, err := server.Write(buffer[:n]); err != nil {
			return
		}
	}
}

func (c *cutter) hit(passing []byte) (hit, answer bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.needle == "" || !bytes.Contains(passing, []byte(c.needle)) {
		return false, false
	}
	c.needle = ""
	return true, c.answer
}

// drop breaks every connection. New ones send their statements' texts again;
// one that has prepared a statement sends its name only.
func (c *cutter) drop() {
	c.mu.Lock()
	for client := range c.open {
		_ = client.Close() // it may be cut already
	}
	c.mu.Unlock()
}

func (c *cutter) arm(needle string, answer bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.needle, c.answer = needle, answer
}

// The steps of a batch, of an isolated batch, and of a retry, by a text of each.
var steps = []string{
	"BEGIN", "UPDATE offsets SET committed_offset", "INSERT INTO store.effects", "append_log", "COMMIT",
	"SAVEPOINT message", "SAVEPOINT constraints", "INSERT INTO parked_messages", "DELETE FROM inbox",
	"SELECT DISTINCT ON (key)", "UPDATE parked_messages SET attempts", "UPDATE parked_messages SET state", "DELETE FROM parked_messages",
}

func TestBatch_ConnectionThatBreaksAtAnyStatementLosesAndRepeatsNothing(t *testing.T) {
	t.Parallel()
	target := fresh(t)
	cutter, through := newCutter(t, target)
	var mu sync.Mutex
	tries := map[paid]int{}
	r := start(t, through, sqltransport.Config{Backoff: []time.Duration{time.Millisecond, time.Millisecond, time.Millisecond}},
		part{name: "shop", publishes: []bus.Event{paid{}}},
		part{name: "store", publishes: []bus.Event{packed{}}, subscribes: []bus.Subscription{bus.On(func(ctx context.Context, tx *bus.Tx, p paid) error {
			mu.Lock()
			tries[p]++
			try := tries[p]
			mu.Unlock()
			if _, err := tx.ExecContext(ctx, `INSERT INTO store.effects (message) VALUES ($1)`, tx.Cause().ID); err != nil {
				return err
			}
			if p.Order == "flaky" && try < 4 {
				return errors.New("is parked, and fails again once")
			}
			return tx.Publish(packed{p.Order})
		})}})
	direct, err := postgres.Open(t.Context(), postgres.Config{URL: target, MaxConns: 2, Application: "observer"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, direct.Close()) })
	_, err = direct.ExecContext(t.Context(), `CREATE TABLE store.effects (message uuid)`)
	require.NoError(t, err)
	shop := observe(t, target)
	published := 0
	for _, step := range steps {
		for _, answer := range []bool{false, true} {
			// In this order: what is still at work connects again at once, and would
			// have prepared the statement before the cutter looks for its text.
			cutter.arm(step, answer)
			cutter.drop()
			for _, order := range []string{"flaky", "good", "fine"} {
				published++
				require.NoError(t, shop.InTx(t.Context(), func(tx *bus.Tx) error { return tx.Publish(paid{order, published}) }))
			}
			waitFor(t, "cut at "+step, cutter.cut)
			require.Eventually(t, func() bool {
				var handled, open int
				require.NoError(t, direct.QueryRowContext(t.Context(), `SELECT (SELECT count(*) FROM store.inbox), (SELECT count(*) FROM store.parked_messages)`).Scan(&handled, &open))
				return handled == published && open == 0
			}, 60*time.Second, 10*time.Millisecond, "%s, answer lost: %v", step, answer)
		}
	}
	var effects, distinct, events int
	require.NoError(t, direct.QueryRowContext(t.Context(), `SELECT count(*), count(DISTINCT message), (SELECT count(*) FROM store.log) FROM store.effects`).Scan(&effects, &distinct, &events))
	require.Equal(t, []int{published, published, published}, []int{effects, distinct, events})
	_ = r
}

func TestInTx_CommitWhoseReplyIsLostIsAnErrorAndWakesItsReaders(t *testing.T) {
	t.Parallel()
	cutter, through := newCutter(t, fresh(t))
	handled := make(chan int, 10)
	r := start(t, through, sqltransport.Config{Poll: time.Hour},
		part{name: "shop", publishes: []bus.Event{paid{}}},
		part{name: "store", subscribes: []bus.Subscription{bus.On(func(_ context.Context, _ *bus.Tx, p paid) error {
			handled <- p.N
			return nil
		})}})
	db := r.transport.DB("shop")
	require.NoError(t, db.InTx(t.Context(), func(tx *bus.Tx) error { return tx.Publish(paid{"x", 1}) }))
	require.Equal(t, 1, waitFor(t, "the first", handled))
	store := r.transport.DB("store")
	require.Eventually(t, func() bool { // its commit is behind us too
		var offset int
		require.NoError(t, store.QueryRowContext(t.Context(), `SELECT max(committed_offset) FROM offsets`).Scan(&offset))
		return offset == 1
	}, 60*time.Second, 10*time.Millisecond)
	err := db.InTx(t.Context(), func(tx *bus.Tx) error {
		cutter.arm("COMMIT", true)
		return tx.Publish(paid{"x", 2})
	})
	require.Equal(t, errs.Resource, errs.KindOf(err), "%v", err)
	require.Equal(t, 2, waitFor(t, "what was committed all the same", handled))
}

type packed struct {
	Order string `json:"order"`
}

func (packed) EventName() string { return "store.packed" }
func (p packed) Key() string     { return p.Order }

// observe opens another process that only speaks, for the shop.
func observe(t *testing.T, target string) *bus.DB {
	t.Helper()
	topo, err := bus.NewTopology(part{name: "shop", publishes: []bus.Event{paid{}}})
	require.NoError(t, err)
	cfg := sqltransport.Config{URL: target, LeaseTTL: time.Minute, Logger: slog.New(slog.DiscardHandler)} // else a busy machine may have it taken for dead in the middle of a word
	tr, err := sqltransport.Open(t.Context(), cfg, topo, []string{"shop"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, tr.Close()) })
	return tr.DB("shop")
}

func waitFor[T any](t *testing.T, what string, signal <-chan T) T {
	t.Helper()
	select {
	case v := <-signal:
		return v
	case <-time.After(60 * time.Second):
		require.FailNow(t, "waited in vain", what)
		panic("unreachable")
	}
}

func TestAFailedMessageGoesAsideInTheTransactionThatMovesThePosition(t *testing.T) {
	t.Parallel()
	called := make(chan struct{}, 1000)
	r := start(t, fresh(t), sqltransport.Config{Backoff: []time.Duration{}},
		part{name: "shop", publishes: []bus.Event{paid{}}},
		part{name: "store", subscribes: []bus.Subscription{bus.On(func(context.Context, *bus.Tx, paid) error {
			called <- struct{}{}
			return errors.New("fails")
		})}})
	db, err := postgres.Open(t.Context(), postgres.Config{URL: r.url, MaxConns: 1, Schema: "store"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	state := func() (got string) {
		require.NoError(t, db.QueryRowContext(t.Context(), `SELECT format('%s %s', sum(committed_offset), (SELECT count(*) FROM parked_messages)) FROM offsets`).Scan(&got))
		return got
	}
	_, err = db.ExecContext(t.Context(), `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no room''; END'; CREATE TRIGGER refuse BEFORE INSERT ON parked_messages FOR EACH ROW EXECUTE FUNCTION refuse()`)
	require.NoError(t, err)
	require.NoError(t, r.transport.DB("shop").InTx(t.Context(), func(tx *bus.Tx) error { return tx.Publish(paid{"x", 1}) }))
	for range 5 { // again and again: the message cannot be parked, so it stays where it is
		waitFor(t, "the handler", called)
	}
	require.Equal(t, "0 0", state())
	_, err = db.ExecContext(t.Context(), `DROP TRIGGER refuse ON parked_messages`)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return state() == "1 1" }, 60*time.Second, 10*time.Millisecond)
}

func TestAMessageThatCannotBeReadGoesAsideAndOddMetadataDoesNotMatter(t *testing.T) {
	t.Parallel()
	handled := make(chan string, 10_000) // a handler must not wait for the test: messages come again, beside one that fails
	r := start(t, fresh(t), sqltransport.Config{},
		part{name: "shop", publishes: []bus.Event{paid{}}},
		part{name: "store", subscribes: []bus.Subscription{bus.On(func(_ context.Context, tx *bus.Tx, p paid) error {
			handled <- tx.Cause().Key
			return nil
		})}})
	db, err := postgres.Open(t.Context(), postgres.Config{URL: r.url, MaxConns: 1, Schema: "shop"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	for i, odd := range []struct{ key, payload, metadata string }{
		{"bytes", "\xff\xfe", `{}`}, {"nothing", "", `{}`}, {"half", `{"order":`, `{}`}, {"type", `{"order":7}`, `{}`}, {"list", `[]`, `{}`}, {"time", `{}`, `{"ce_time":"yesterday"}`},
		{"array", `{}`, `["a"]`}, {"numbers", `{}`, `{"a":1}`}, {"null", `{}`, `null`}, {"empty", `null`, `{}`}, {"unknown", `{"more":{"fields":1}}`, `{}`},
	} {
		_, err := db.ExecContext(t.Context(), `SELECT append_log(ARRAY[$1::smallint], ARRAY[gen_random_uuid()], ARRAY['shop.paid'], ARRAY[$2::text], ARRAY[$3::bytea], ARRAY[$4::text])`,
			store.PartitionOf(odd.key), odd.key, []byte(odd.payload), odd.metadata)
		require.NoError(t, err, i)
	}
	require.NoError(t, r.transport.DB("shop").InTx(t.Context(), func(tx *bus.Tx) error { // wakes: the rows above notified nobody
		for p := range store.Partitions {
			if err := tx.Publish(paid{keyOf(p), 0}); err != nil {
				return err
			}
		}
		return nil
	}))
	got := map[string]bool{}
	for len(got) < 4+store.Partitions { // beside one that fails, others are handled again
		got[waitFor(t, "a message", handled)] = true
	}
	for _, key := range []string{"array", "numbers", "null", "unknown"} {
		require.True(t, got[key], key)
	}
	store := r.transport.DB("store")
	require.Eventually(t, func() bool {
		var states string
		require.NoError(t, store.QueryRowContext(t.Context(), `SELECT coalesce(string_agg(format('%s %s %s', key, state, kind), ', ' ORDER BY key), '') FROM parked_messages`).Scan(&states))
		return states == "bytes dead undecodable, empty dead undecodable, half dead undecodable, list dead undecodable, nothing dead undecodable, time dead undecodable, type dead undecodable"
	}, 60*time.Second, 10*time.Millisecond)
}

// keyOf returns a key of the partition.
func keyOf(partition int) string {
	for i := 0; ; i++ {
		if key := "k" + strconv.Itoa(i); store.PartitionOf(key) == partition {
			return key
		}
	}
}
