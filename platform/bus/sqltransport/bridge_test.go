package sqltransport_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
	"millrace/platform/bus/admin"
	"millrace/platform/bus/deadletter"
	"millrace/platform/bus/sqltransport"
	"millrace/platform/bus/store"
	"millrace/platform/postgres"
)

// badBridge is a bridge inside this process that is as bad as one may be: it
// repeats, it reorders what it is given at once, it refuses part of it, and
// loses what lose returns.
type badBridge struct {
	to      atomic.Pointer[sqltransport.Transport]
	modules []string
	lose    func(store.Row) bool

	mu      sync.Mutex
	carried []store.Row
}

func (c *badBridge) Name() string { return "nowhere" }

func (c *badBridge) Forward(ctx context.Context, rows []store.Row) (int, error) {
	to := c.to.Load()
	if to == nil {
		return 0, errors.New("not open yet")
	}
	take := len(rows)
	if rand.IntN(4) == 0 {
		take = rand.IntN(len(rows) + 1)
	}
	c.mu.Lock()
	c.carried = append(c.carried, rows...)
	c.mu.Unlock()
	arrived := slices.DeleteFunc(slices.Clone(rows), c.lose)
	if rand.IntN(3) == 0 {
		rand.Shuffle(len(arrived), func(i, k int) { arrived[i], arrived[k] = arrived[k], arrived[i] })
	}
	for _, module := range c.modules {
		for range 1 + rand.IntN(2) {
			for _, row := range arrived { // one by one, so that their order has a meaning
				if !slices.Contains(to.SubscribedTopics(module), row.Topic) {
					continue
				}
				if err := to.Inbound().Receive(ctx, module, []store.Row{row}); err != nil {
					return 0, err
				}
			}
		}
	}
	if take < len(rows) {
		return take, errors.New("refused")
	}
	return take, nil
}

type pack struct {
	Order string `json:"order"`
	N     int    `json:"n"`
}

func (pack) CommandName() string { return "store.pack" }
func (p pack) Key() string       { return p.Order }

func effects(t *testing.T, db *bus.DB) (all string) {
	require.NoError(t, db.QueryRowContext(t.Context(), `
		SELECT coalesce(string_agg(line, ' ' ORDER BY line), '') FROM (
			SELECT kind || '/' || key || ':' || string_agg(n::text, ',' ORDER BY at) AS line FROM effects GROUP BY kind, key) AS lines`).Scan(&all))
	return all
}

// carried starts a shop and a store with a bridge between them.
func bridged(t *testing.T, c *badBridge, cfg sqltransport.Config) *rig {
	note := func(ctx context.Context, tx *bus.Tx, kind, key string, n int) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO effects (kind, key, n) VALUES ($1, $2, $3)`, kind, key, n)
		return err
	}
	url := fresh(t)
	parts := []bus.Module{
		part{name: "shop", publishes: []bus.Event{paid{}}, sends: []bus.Command{pack{}}},
		part{name: "store", subscribes: []bus.Subscription{
			bus.On(func(ctx context.Context, tx *bus.Tx, p paid) error { return note(ctx, tx, "paid", p.Order, p.N) }),
			bus.Handle(func(ctx context.Context, tx *bus.Tx, p pack) error { return note(ctx, tx, "pack", p.Order, p.N) }),
		}},
	}
	topo, err := bus.NewTopology(parts...)
	require.NoError(t, err)
	require.NoError(t, admin.Migrate(t.Context(), url, topo))
	db, err := postgres.Open(t.Context(), postgres.Config{URL: url, MaxConns: 1})
	require.NoError(t, err)
	_, err = db.ExecContext(t.Context(), `CREATE TABLE store.effects (at bigint GENERATED ALWAYS AS IDENTITY, kind text, key text, n int)`)
	require.NoError(t, errors.Join(err, db.Close()))
	c.modules, cfg.Bridge, cfg.Poll = []string{"shop", "store"}, c, 100*time.Millisecond
	if c.lose == nil {
		c.lose = func(store.Row) bool { return false }
	}
	r := start(t, url, cfg, parts...)
	c.to.Store(r.transport)
	return r
}

func publish(t *testing.T, r *rig, n int, keys ...string) {
	for _, key := range keys {
		require.NoError(t, r.transport.DB("shop").InTx(t.Context(), func(tx *bus.Tx) error {
			if err := tx.Publish(paid{key, n}); err != nil {
				return err
			}
			return tx.Send(pack{key, n})
		}))
	}
}

func becomes(t *testing.T, what string, is func() bool) {
	t.Helper()
	require.Eventually(t, is, time.Minute, 10*time.Millisecond, what)
}

func TestBridge_RepeatedReorderedAndRefusedRowsTakeEffectOnceAndInOrder(t *testing.T) {
	t.Parallel()
	r := bridged(t, &badBridge{}, sqltransport.Config{})
	want := ""
	for _, kind := range []string{"pack", "paid"} {
		for k := range 9 {
			want += kind + "/order-" + strconv.Itoa(k) + ":0,1,2,3,4,5,6,7,8,9 "
		}
	}
	want = want[:len(want)-1]
	for n := range 10 {
		for k := range 9 {
			publish(t, r, n, "order-"+strconv.Itoa(k))
		}
	}
	becomes(t, "every effect", func() bool { return effects(t, r.transport.DB("store")) == want })
}

func TestBridge_LostEventIsADeadLetterAndWhatFollowsGoesOn(t *testing.T) {
	t.Parallel()
	c := &badBridge{lose: func(r store.Row) bool { return r.Type == "shop.paid" && (r.Sequence == 2 || r.Sequence == 3) }}
	r := bridged(t, c, sqltransport.Config{LostAfter: 2 * time.Second})
	for n := range 5 {
		publish(t, r, n, "order")
	}
	becomes(t, "what follows the gap", func() bool {
		return effects(t, r.transport.DB("store")) == "pack/order:0,1,2,3,4 paid/order:0,3,4"
	})
	var dead string
	require.NoError(t, r.transport.DB("store").QueryRowContext(t.Context(), `SELECT string_agg(state || ' ' || key, ', ') FROM parked_messages`).Scan(&dead))
	partition := strconv.Itoa(store.PartitionOf("order"))
	require.Equal(t, "dead lost shop.events/"+partition+"/2-3", dead)
}

func TestBridge_LostCommandsAreOneDeadLetterThatCanOnlyBeDiscarded(t *testing.T) {
	t.Parallel()
	c := &badBridge{lose: func(r store.Row) bool { return r.Type == "store.pack" && r.Sequence >= 2 && r.Sequence <= 4 }}
	r := bridged(t, c, sqltransport.Config{LostAfter: 2 * time.Second})
	for n := range 6 {
		publish(t, r, n, "order")
	}
	becomes(t, "what follows the gap", func() bool {
		return effects(t, r.transport.DB("store")) == "pack/order:0,4,5 paid/order:0,1,2,3,4,5"
	})
	db, err := postgres.Open(t.Context(), postgres.Config{URL: r.url, MaxConns: 1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	letters, err := deadletter.List(t.Context(), db, []string{"store"}, 1000)
	require.NoError(t, err)
	require.Len(t, letters, 1)
	require.ErrorContains(t, deadletter.Retry(t.Context(), db, []string{"store"}, letters[0].ID), "it never arrived")
	require.NoError(t, deadletter.Discard(t.Context(), db, []string{"store"}, letters[0].ID, "operator", "a test"))
	var open int
	require.NoError(t, db.QueryRowContext(t.Context(), `SELECT count(*) FROM store.parked_messages WHERE state <> 'discarded'`).Scan(&open))
	require.Zero(t, open)
}

func TestSetTopicID_NewTopicGetsEverythingAgain(t *testing.T) {
	t.Parallel()
	c := &badBridge{}
	r := bridged(t, c, sqltransport.Config{})
	again, err := r.transport.Inbound().SetTopicID(t.Context(), "shop.events", "first")
	require.NoError(t, err)
	require.False(t, again)
	publish(t, r, 0, "a", "b", "c")
	const once = "pack/a:0 pack/b:0 pack/c:0 paid/a:0 paid/b:0 paid/c:0"
	becomes(t, "effects", func() bool { return effects(t, r.transport.DB("store")) == once })

	c.mu.Lock()
	c.carried = nil
	c.mu.Unlock()
	again, err = r.transport.Inbound().SetTopicID(t.Context(), "shop.events", "second")
	require.NoError(t, err)
	require.True(t, again)
	becomes(t, "forwarded again", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		events := map[string]bool{}
		for _, row := range c.carried {
			events[row.Type+row.Key] = true
		}
		return events["shop.paida"] && events["shop.paidb"] && events["shop.paidc"]
	})
	require.Equal(t, once, effects(t, r.transport.DB("store")), "nothing took effect twice")
}

func await[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case n := <-from:
		return n
	case <-time.After(60 * time.Second):
		require.FailNow(t, "waited in vain")
		panic("not reached")
	}
}

// Requests may hold every connection of a module: what the bridge brings has
// others, and the other way round.
func TestReceive_HasConnectionsOfItsOwn(t *testing.T) {
	t.Parallel()
	const pool = 5
	r := bridged(t, &badBridge{}, sqltransport.Config{MaxConnsPerModule: pool})
	held, release := make(chan struct{}, pool), make(chan struct{})
	var requests sync.WaitGroup
	for range pool {
		requests.Go(func() {
			_ = r.transport.DB("store").InTx(context.Background(), func(*bus.Tx) error { // it changes nothing
				held <- struct{}{}
				<-release
				return nil
			})
		})
	}
	t.Cleanup(func() { close(release); requests.Wait() })
	for range pool {
		await(t, held)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	require.NoError(t, r.transport.Inbound().Receive(ctx, "store", []store.Row{{
		Topic: "shop.events", Source: "shop", Partition: store.PartitionOf("a"), Sequence: 1,
		ID: uuid.Must(uuid.NewV7()), Type: "shop.paid", Key: "a", Payload: []byte(`{"order":"a","n":1}`),
	}}))
}

func TestReceive_RowWithoutNumberIsHandledFromTheQueue(t *testing.T) {
	t.Parallel()
	r := bridged(t, &badBridge{}, sqltransport.Config{})
	rows := []store.Row{{
		Topic: "shop.events", Source: "https://example.com/till", ID: uuid.Must(uuid.NewV7()), Type: "shop.paid", Key: "foreign",
		Payload: []byte(`{"order":"foreign","n":7}`), Metadata: map[string]string{"ce_source": "https://example.com/till"},
	}}
	require.NoError(t, r.transport.Inbound().Receive(t.Context(), "store", rows))
	require.NoError(t, r.transport.Inbound().Receive(t.Context(), "store", rows))
	publish(t, r, 8, "foreign")
	becomes(t, "both", func() bool {
		got := effects(t, r.transport.DB("store"))
		return got == "pack/foreign:8 paid/foreign:7,8" || got == "pack/foreign:8 paid/foreign:8,7"
	})
}
