package model

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/lib/pq"

	"millrace/platform/bus"
	"millrace/platform/bus/sqltransport"
	"millrace/platform/errs"
)

// What is said. N is the message's number in the program, and tells it from all others.
type body struct {
	K string `json:"k"`
	N int    `json:"n"`
}

func (b body) Key() string { return b.K }

type (
	paid   struct{ body }
	noted  struct{ body }
	rung   struct{ body }
	pack   struct{ body }
	packed struct{ body }
)

func (paid) EventName() string   { return "shop.paid" }
func (noted) EventName() string  { return "shop.noted" }
func (rung) EventName() string   { return "till.rung" }
func (packed) EventName() string { return "store.packed" }
func (pack) CommandName() string { return "store.pack" }

// topics says where each type travels.
var topics = map[string]string{"paid": "shop.events", "noted": "shop.events", "rung": "till.events", "pack": "store.commands"}

// say publishes or sends one message.
func say(tx *bus.Tx, kind string, b body) error {
	switch kind {
	case "paid":
		return tx.Publish(paid{b})
	case "noted":
		return tx.Publish(noted{b})
	case "rung":
		return tx.Publish(rung{b})
	case "pack":
		return tx.Send(pack{b})
	}
	return fmt.Errorf("no message is called %q", kind)
}

// speaker is the module that says a type.
func speaker(kind string) string {
	if kind == "rung" {
		return "till"
	}
	return "shop"
}

// keys are six: the first three travel in the same partition.
var keys = func() []string {
	var together, apart []string
	for i := 0; len(together) < 3 || len(apart) < 3; i++ {
		key := "k" + strconv.Itoa(i)
		if sqltransport.PartitionOf(key) == 5 {
			together = append(together, key)
		} else {
			apart = append(apart, key)
		}
	}
	return append(together[:3], apart[:3]...)
}()

// version is what a version of the program knows.
type version struct {
	Noted bool      `json:"noted"` // store hears shop.noted
	Late  bool      `json:"late"`  // there is a subscriber called late
	From  time.Time `json:"from"`  // where it begins
}

// hosts are the modules that work.
func (v version) hosts() []string {
	if v.Late {
		return []string{"store", "late"}
	}
	return []string{"store"}
}

type part struct {
	name      string
	publishes []bus.Event
	sends     []bus.Command
	hears     []bus.Subscription
}

func (p part) Name() string                      { return p.name }
func (p part) Publishes() []bus.Event            { return p.publishes }
func (p part) Sends() []bus.Command              { return p.sends }
func (p part) Subscriptions() []bus.Subscription { return p.hears }

// topology is a version's. plan is where handlers look up whether they are to
// fail; it is no part of their transactions, so that a failure is used up.
func (v version) topology(plan *sql.DB) (*bus.Topology, error) {
	store := func(ctx context.Context, tx *bus.Tx, b body) error {
		if err := handle(ctx, tx, plan, "store", b); err != nil {
			return err
		}
		return tx.Publish(packed{b})
	}
	late := func(ctx context.Context, tx *bus.Tx, b body) error { return handle(ctx, tx, plan, "late", b) }
	hears := []bus.Subscription{
		bus.On(func(ctx context.Context, tx *bus.Tx, m paid) error { return store(ctx, tx, m.body) }),
		bus.On(func(ctx context.Context, tx *bus.Tx, m rung) error { return store(ctx, tx, m.body) }),
		bus.Handle(func(ctx context.Context, tx *bus.Tx, m pack) error { return store(ctx, tx, m.body) }),
	}
	if v.Noted {
		hears = append(hears, bus.On(func(ctx context.Context, tx *bus.Tx, m noted) error { return store(ctx, tx, m.body) }))
	}
	all := []bus.Module{
		part{name: "shop", publishes: []bus.Event{paid{}, noted{}}, sends: []bus.Command{pack{}}},
		part{name: "till", publishes: []bus.Event{rung{}}},
		part{name: "store", publishes: []bus.Event{packed{}}, hears: hears},
	}
	if v.Late {
		all = append(all, part{name: "late", hears: []bus.Subscription{
			bus.On(func(ctx context.Context, tx *bus.Tx, m paid) error { return late(ctx, tx, m.body) }).From(v.From),
			bus.On(func(ctx context.Context, tx *bus.Tx, m noted) error { return late(ctx, tx, m.body) }).From(v.From),
		}})
	}
	return bus.NewTopology(all...)
}

// handle leaves a mark, and then fails if that is planned.
func handle(ctx context.Context, tx *bus.Tx, plan *sql.DB, subscriber string, b body) error {
	if _, err := tx.ExecContext(ctx, `INSERT INTO effects (message, key, n, topic) VALUES ($1, $2, $3, $4)`, tx.Cause().ID, b.K, b.N, tx.Cause().Topic); err != nil {
		return err
	}
	var way string
	err := plan.QueryRowContext(ctx, `UPDATE public.plan SET fails = fails - 1 WHERE subscriber = $1 AND n = $2 AND fails > 0 RETURNING way`, subscriber, b.N).Scan(&way)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil
	case err != nil:
		return errs.As(errs.Resource, err)
	}
	switch way {
	case "panic":
		panic("planned")
	case "invalid":
		return errs.New(errs.Invalid, "planned")
	case "contention":
		return &pq.Error{Code: "40001", Message: "planned"}
	default:
		return errors.New("planned")
	}
}

// tables are the suite's own. Nothing is unique: a second effect must be seen.
const tables = `
CREATE TABLE store.effects (at bigint GENERATED ALWAYS AS IDENTITY, message uuid, key text, n int, topic text);
CREATE TABLE late.effects (at bigint GENERATED ALWAYS AS IDENTITY, message uuid, key text, n int, topic text);
CREATE TABLE shop.book (n int);
CREATE TABLE till.book (n int);
CREATE TABLE public.plan (subscriber text, n int, fails int, way text, PRIMARY KEY (subscriber, n));`
