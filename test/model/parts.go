package model

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"

	"github.com/lib/pq"

	"millrace/platform/bus"
	"millrace/platform/bus/store"
	"millrace/platform/errs"
)

// body is the contents of every message. N is its number, unique in the program.
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

// topics has the topic of each message type.
var topics = map[string]string{"paid": "shop.events", "noted": "shop.events", "rung": "till.events", "pack": "store.commands"}

// publish publishes an event or sends a command.
func publish(tx *bus.Tx, kind string, b body) error {
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

// publisherOf is the module that publishes or sends a type.
func publisherOf(kind string) string {
	if kind == "rung" {
		return "till"
	}
	return "shop"
}

// keys has six keys; the first three are in one partition.
var keys = func() []string {
	var together, apart []string
	for i := 0; len(together) < 3 || len(apart) < 3; i++ {
		key := "k" + strconv.Itoa(i)
		if store.PartitionOf(key) == 5 {
			together = append(together, key)
		} else {
			apart = append(apart, key)
		}
	}
	return append(together[:3], apart[:3]...)
}()

// version is a version of the program's modules.
type version struct {
	Noted bool `json:"noted"` // store subscribes to shop.noted
	Late  bool `json:"late"`  // the module late exists
}

// hosts are the modules that handle messages.
func (v version) hosts() []string {
	if v.Late {
		return []string{"store", "late"}
	}
	return []string{"store"}
}

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

// topology returns the modules of a version. Handlers look up in plan whether they
// must fail. plan is outside of their transactions, so that a planned failure
// counts even though the handler's transaction rolls back.
func (v version) topology(plan *sql.DB) (*bus.Topology, error) {
	store := func(ctx context.Context, tx *bus.Tx, b body) error {
		if err := handle(ctx, tx, plan, "store", b); err != nil {
			return err
		}
		return tx.Publish(packed{b})
	}
	late := func(ctx context.Context, tx *bus.Tx, b body) error { return handle(ctx, tx, plan, "late", b) }
	subscriptions := []bus.Subscription{
		bus.On(func(ctx context.Context, tx *bus.Tx, m paid) error { return store(ctx, tx, m.body) }),
		bus.On(func(ctx context.Context, tx *bus.Tx, m rung) error { return store(ctx, tx, m.body) }),
		bus.Handle(func(ctx context.Context, tx *bus.Tx, m pack) error { return store(ctx, tx, m.body) }),
	}
	if v.Noted {
		subscriptions = append(subscriptions, bus.On(func(ctx context.Context, tx *bus.Tx, m noted) error { return store(ctx, tx, m.body) }))
	}
	all := []bus.Module{
		part{name: "shop", publishes: []bus.Event{paid{}, noted{}}, sends: []bus.Command{pack{}}},
		part{name: "till", publishes: []bus.Event{rung{}}},
		part{name: "store", publishes: []bus.Event{packed{}}, subscribes: subscriptions},
	}
	if v.Late {
		all = append(all, part{name: "late", subscribes: []bus.Subscription{
			bus.On(func(ctx context.Context, tx *bus.Tx, m paid) error { return late(ctx, tx, m.body) }),
			bus.On(func(ctx context.Context, tx *bus.Tx, m noted) error { return late(ctx, tx, m.body) }),
		}})
	}
	return bus.NewTopology(all...)
}

// handle inserts an effect, and then fails if the plan has a failure for the message.
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

// tables are the suite's own. Effects have no unique constraint: a duplicate must be visible.
const tables = `
CREATE TABLE store.effects (at bigint GENERATED ALWAYS AS IDENTITY, message uuid, key text, n int, topic text);
CREATE TABLE late.effects (at bigint GENERATED ALWAYS AS IDENTITY, message uuid, key text, n int, topic text);
CREATE TABLE shop.book (n int);
CREATE TABLE till.book (n int);
CREATE TABLE public.plan (subscriber text, n int, fails int, way text, PRIMARY KEY (subscriber, n));`
