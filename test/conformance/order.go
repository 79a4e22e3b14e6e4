package conformance

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/lib/pq"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"millrace/platform/bus"
	"millrace/platform/errs"
)

func newRouter(topo *bus.Topology, hosted []string, p Process) (*message.Router, error) {
	return bus.NewRouter(topo, hosted, p.Subscriber, slog.New(slog.DiscardHandler), watermill.NopLogger{})
}

var errBack = errors.New("rolled back")

func commitOrder(t *testing.T, b *bench) {
	subscribers := []string{"one", "two", "three"}
	parts := []bus.Module{shop()}
	for _, name := range subscribers {
		parts = append(parts, part{name: name, subscribes: []bus.Subscription{bus.On(note)}})
	}
	p := b.start(Options{}, parts...)
	published, err := collide(p)
	require.NoError(t, err)
	want := itoa(published)
	require.Equal(t, want, b.text(`SELECT count(*) FROM shop.log`))
	require.Equal(t, "0", b.text(`SELECT count(*) FROM (SELECT count(*) - max("offset") AS gap FROM shop.log GROUP BY partition) AS g WHERE gap <> 0`))
	for _, name := range subscribers {
		b.becomes(want, `SELECT count(*) FROM `+name+`.effects`)
		require.Equal(t, want, b.text(`SELECT count(DISTINCT message) FROM `+name+`.effects`))
		require.Equal(t, "0", b.text(`SELECT count(*) FROM (SELECT "offset" - lag("offset", 1, 0::bigint) OVER (PARTITION BY partition ORDER BY at) AS step FROM `+name+`.effects e JOIN shop.log l ON l.id = e.message) AS s WHERE step <> 1`), "skipped or out of order at %s", name)
	}
}

// collide runs 16 publishers whose transactions publish one to four events each,
// after random delays, and sometimes roll back. It returns how many events were committed.
func collide(p *process) (int, error) {
	const writers, each = 16, 20
	var published atomic.Int32
	var all errgroup.Group
	for range writers {
		all.Go(func() error {
			for n := range each {
				err := p.DB("shop").InTx(context.Background(), func(tx *bus.Tx) error {
					if _, err := tx.ExecContext(context.Background(), `SELECT pg_sleep($1)`, rand.Float64()/100); err != nil {
						return err
					}
					count := 1 + rand.IntN(4)
					for range count {
						if err := tx.Publish(paid{Order: "order-" + itoa(rand.IntN(3)), N: n}); err != nil {
							return err
						}
					}
					if rand.IntN(5) == 0 {
						return errBack
					}
					tx.AfterCommit(func() { published.Add(int32(count)) }) //nolint:gosec // at most 4
					return nil
				})
				if err != nil && !errors.Is(err, errBack) {
					return err
				}
			}
			return nil
		})
	}
	err := all.Wait()
	return int(published.Load()), err
}

// RedWithoutTheLock removes the publish locks and requires that the commit order
// test detects it: without the locks two publishers compute the same next offset,
// and the second insert violates the primary key.
func RedWithoutTheLock(t *testing.T, world Factory) {
	b := newBench(t, world)
	topo := b.prepare(shop())
	for _, function := range []string{"append_log", "append_log_one"} {
		definition := b.text(`SELECT replace(pg_get_functiondef($1::regproc), 'PERFORM pg_advisory_xact_lock(topic, p)', 'PERFORM 1')`, "shop."+function)
		require.Contains(t, definition, "PERFORM 1")
		b.exec(definition)
	}
	_, err := collide(b.host(Options{}, topo, topo.Modules()))
	var refused *pq.Error
	require.ErrorAs(t, err, &refused)
	require.EqualValues(t, "23505", refused.Code, "two writers append under one offset: %v", err)
}

// One command for each of four receivers.
type north struct{ K string }
type south struct{ K string }
type east struct{ K string }
type west struct{ K string }

func (north) CommandName() string { return "north.go" }
func (south) CommandName() string { return "south.go" }
func (east) CommandName() string  { return "east.go" }
func (west) CommandName() string  { return "west.go" }
func (c north) Key() string       { return c.K }
func (c south) Key() string       { return c.K }
func (c east) Key() string        { return c.K }
func (c west) Key() string        { return c.K }

func receiver[C bus.Command](name string) part {
	return part{name: name, subscribes: []bus.Subscription{bus.Handle(func(ctx context.Context, tx *bus.Tx, c C) error { return effect(ctx, tx, c.Key(), 0) })}}
}

func noDeadlock(t *testing.T, b *bench) {
	sender := part{name: "shop", publishes: []bus.Event{paid{}}, sends: []bus.Command{north{}, south{}, east{}, west{}}}
	topo := b.prepare(sender, receiver[north]("north"), receiver[south]("south"), receiver[east]("east"), receiver[west]("west"))
	b.exec(`CREATE TABLE shop.rows AS SELECT id, 0 AS n FROM generate_series(1, 3) AS id`)
	b.exec(`CREATE TABLE shop.total AS SELECT 0 AS n`)
	// A deferred constraint that locks, at the commit, a row that all transactions lock.
	b.exec(`CREATE FUNCTION shop.count() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN UPDATE shop.total SET n = n + 1; RETURN NULL; END'`)
	b.exec(`CREATE CONSTRAINT TRIGGER count AFTER UPDATE ON shop.rows DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION shop.count()`)
	p := b.host(Options{}, topo, topo.Modules())
	var all errgroup.Group
	const writers, each = 10, 40
	began := time.Now()
	for range writers {
		all.Go(func() error {
			for n := 0; n < each || time.Since(began) < deadlocksFor; n++ {
				err := p.DB("shop").InTx(context.Background(), func(tx *bus.Tx) error {
					if n%4 == 0 { // the other transactions lock no such row first
						query := `UPDATE rows SET n = n + 1 WHERE id = $1`
						if _, err := tx.ExecContext(context.Background(), query, 1+rand.IntN(3)); err != nil {
							return err
						}
					}
					if n%4 == 2 { // and these lock in the opposite order
						if _, err := tx.ExecContext(context.Background(), `UPDATE total SET n = n`); err != nil {
							return err
						}
					}
					for range 6 {
						key := "k" + itoa(rand.IntN(8))
						publish := []func() error{
							func() error { return tx.Publish(paid{Order: key}) },
							func() error { return tx.Send(north{key}) }, func() error { return tx.Send(south{key}) },
							func() error { return tx.Send(east{key}) }, func() error { return tx.Send(west{key}) },
						}
						if err := publish[rand.IntN(len(publish))](); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil && errs.KindOf(err) != errs.Resource { // on a busy machine a connection may be lost
					return err
				}
			}
			return nil
		})
	}
	require.NoError(t, all.Wait())
	require.Equal(t, b.text(`SELECT sum(n) FROM shop.rows`), b.text(`SELECT n FROM shop.total`))
	b.within(patience+10*deadlocksFor, "0", `SELECT (SELECT count(*) FROM shop.outbox) + (SELECT count(*) FROM north.queue) + (SELECT count(*) FROM south.queue) + (SELECT count(*) FROM east.queue) + (SELECT count(*) FROM west.queue)
		- (SELECT count(*) FROM north.effects) - (SELECT count(*) FROM south.effects) - (SELECT count(*) FROM east.effects) - (SELECT count(*) FROM west.effects)`)
}

func shutdown(t *testing.T, b *bench) {
	parts := busy(nil, nil)
	topo := b.prepare(parts...)
	b.exec(`CREATE FUNCTION store.linger() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.002); RETURN NEW; END'`)
	b.exec(`CREATE TRIGGER linger AFTER INSERT ON store.effects FOR EACH ROW EXECUTE FUNCTION store.linger()`)
	source := b.host(Options{}, topo, []string{"shop"})
	source.publish(batch(20, 20)...)
	for round := range 4 {
		p := b.host(Options{}, topo, []string{"store"})
		b.becomes("true", `SELECT count(*) >= $1 FROM store.effects`, 1+round*90)
		started := time.Now()
		p.stop()
		require.Less(t, time.Since(started), 25*time.Second)
		done := b.text(`SELECT count(*) FROM store.effects`)
		require.Equal(t, done, b.text(`SELECT count(*) FROM store.inbox`))
		require.Equal(t, done, b.text(`SELECT count(*) FROM store.log`))
		require.Equal(t, done, b.text(`SELECT sum(committed_offset) - (SELECT count(*) FROM store.parked_messages) FROM `+eventOffsets+``)) // messages past their time limit are parked
	}
	b.host(Options{}, topo, []string{"store"})
	b.becomes("400", `SELECT count(*) FROM store.effects`)
	b.onceInOrder("store", 20, 20)
	b.everythingOnce()
	b.neverParked()
}

func cancelled(t *testing.T, b *bench) {
	topo := b.prepare(busy(nil, nil)...)
	p := b.host(Options{}, topo, topo.Modules())
	p.publish(batch(10, 10)...)
	p.cancel() // without the router's Close
	require.NoError(t, await(t, "the router", p.done))
	p.done <- nil
	p.publish(batch(10, 1)...) // the database handle still works for requests in flight
	p.stop()
	b.host(Options{}, topo, topo.Modules())
	b.becomes("110", `SELECT count(*) FROM store.effects`)
	b.everythingOnce()
	b.neverParked()
}

func closeWhileHanging(t *testing.T, b *bench) {
	entered, release := make(chan struct{}, 1), make(chan struct{})
	t.Cleanup(func() { close(release) })
	topo := b.prepare(busy(func() { entered <- struct{}{} }, release)...)
	opened, err := b.world.Open(t.Context(), topo, topo.Modules(), Options{})
	require.NoError(t, err)
	router, err := newRouter(topo, topo.Modules(), opened)
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- router.Run(context.Background()) }()
	<-router.Running()
	require.NoError(t, opened.DB("shop").InTx(t.Context(), func(tx *bus.Tx) error { return tx.Publish(paid{Order: "stuck"}) }))
	await(t, "the handler", entered)
	started := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	require.Equal(t, errs.Timeout, errs.KindOf(opened.Drain(ctx)))
	require.ErrorContains(t, router.Close(), "timeout") // the handler's goroutine cannot be ended
	require.NoError(t, await(t, "the router", done))
	require.NoError(t, opened.Close())
	require.Less(t, time.Since(started), 25*time.Second)
	require.Equal(t, "0", b.text(`SELECT count(*) FROM store.effects`))
	topo = b.prepare(busy(nil, nil)...)
	b.host(Options{}, topo, topo.Modules())
	b.becomes("1", `SELECT count(*) FROM store.effects`)
	b.everythingOnce()
	b.neverParked()
}
