package sqltransport_test

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
	"millrace/platform/bus/admin"
	"millrace/platform/bus/bustest"
	"millrace/platform/bus/sqltransport"
	"millrace/platform/errs"
)

type paid struct {
	Order string `json:"order"`
	N     int    `json:"n"`
}

func (paid) EventName() string { return "shop.paid" }
func (p paid) Key() string     { return p.Order }

// part is a module for tests.
type part struct {
	name       string
	publishes  []bus.Event
	sends      []bus.Command
	subscribes []bus.Subscription
}

func (p part) Name() string                      { return p.name }
func (p part) Publishes() []bus.Event            { return p.publishes }
func (p part) Sends() []bus.Command              { return p.sends }
func (p part) Subscriptions() []bus.Subscription { return p.subscribes }

// fresh is a database of the test's own, with the bus's tables for a shop and a store.
func fresh(t *testing.T) (url string) { return bustest.Database(t, "shop", "store") }

// rig runs a router and a transport over the parts.
type rig struct {
	t         *testing.T
	url       string
	transport *sqltransport.Transport
	router    *watermill.CaptureLoggerAdapter // what it logged
}

func start(t *testing.T, url string, cfg sqltransport.Config, parts ...bus.Module) *rig {
	t.Helper()
	topo, err := bus.NewTopology(parts...)
	require.NoError(t, err)
	ctx := t.Context()
	require.NoError(t, admin.Migrate(ctx, url, topo))
	cfg.URL = url
	tr, err := sqltransport.Open(ctx, cfg, topo, topo.Modules())
	require.NoError(t, err)
	logged := watermill.NewCaptureLogger()
	router, err := bus.NewRouter(topo, topo.Modules(), tr.Subscriber, cmp.Or(cfg.Logger, slog.Default()), logged)
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- router.Run(context.Background()) }()
	<-router.Running()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		require.NoError(t, tr.Drain(ctx))
		require.NoError(t, router.Close())
		require.NoError(t, <-done)
		require.NoError(t, tr.Close())
	})
	return &rig{t: t, url: url, transport: tr, router: logged}
}

func TestBatch_HandlesEventsInOrderPerKey(t *testing.T) {
	t.Parallel()
	const keys, each = 20, 50
	var mu sync.Mutex
	got := map[string][]int{}
	all := make(chan struct{})
	count := 0
	r := start(t, fresh(t), sqltransport.Config{},
		part{name: "shop", publishes: []bus.Event{paid{}}},
		part{name: "store", subscribes: []bus.Subscription{bus.On(func(_ context.Context, tx *bus.Tx, p paid) error {
			tx.AfterCommit(func() { // a batch that a busy machine delays is rolled back, and its handlers are called again
				mu.Lock()
				defer mu.Unlock()
				got[p.Order] = append(got[p.Order], p.N)
				if count++; count == keys*each {
					close(all)
				}
			})
			return nil
		})}})
	db := r.transport.DB("shop")
	var wg sync.WaitGroup
	for k := range keys {
		wg.Go(func() {
			for n := range each {
				require.NoError(t, db.InTx(t.Context(), func(tx *bus.Tx) error { return tx.Publish(paid{"order-" + strconv.Itoa(k), n}) }))
			}
		})
	}
	wg.Wait()
	select {
	case <-all:
	case <-time.After(60 * time.Second):
		mu.Lock()
		defer mu.Unlock()
		t.Fatalf("%d of %d handled", count, keys*each)
	}
	for key, ns := range got {
		for i, n := range ns {
			require.Equal(t, i, n, "%s out of order: %v", key, ns)
		}
	}
}

func TestBatch_DeadMessageBlocksOnlyItsKey(t *testing.T) {
	t.Parallel()
	handled := make(chan string, 100)
	r := start(t, fresh(t), sqltransport.Config{Backoff: []time.Duration{10 * time.Millisecond}},
		part{name: "shop", publishes: []bus.Event{paid{}}},
		part{name: "store", subscribes: []bus.Subscription{bus.On(func(_ context.Context, _ *bus.Tx, p paid) error {
			if p.Order == "bad" && p.N == 0 {
				return errs.New(errs.Invalid, "breaks a rule")
			}
			if p.Order == "flaky" && p.N == 0 {
				return errors.New("who knows")
			}
			handled <- p.Order + strconv.Itoa(p.N)
			return nil
		})}})
	db := r.transport.DB("shop")
	require.NoError(t, db.InTx(t.Context(), func(tx *bus.Tx) error {
		for n := range 2 {
			for _, order := range []string{"bad", "good", "flaky"} {
				if err := tx.Publish(paid{order, n}); err != nil {
					return err
				}
			}
		}
		return nil
	}))
	got := map[string]bool{}
	for len(got) < 2 { // beside one that fails, others are handled again
		got[waitFor(t, "a message", handled)] = true
	}
	require.Equal(t, map[string]bool{"good0": true, "good1": true}, got)
	store := r.transport.DB("store")
	require.Eventually(t, func() bool {
		var states string
		require.NoError(t, store.QueryRowContext(t.Context(), `SELECT coalesce(string_agg(key || ' ' || state, ', ' ORDER BY key, "offset"), '') FROM parked_messages`).Scan(&states))
		return states == "bad dead, bad blocked, flaky dead, flaky blocked"
	}, 60*time.Second, 10*time.Millisecond)
}
