package main

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"sync"

	"millrace/platform/bus"
	"millrace/platform/bus/admin"
	"millrace/platform/bus/sqltransport"
	"millrace/platform/postgres"
)

// ours is one process that hosts the publisher and the three listeners.
// Everything but the size of the pools is the default.
type ours struct {
	url       string
	others    int // further modules, which another process would host
	road      road
	topo      *bus.Topology
	before    transport // publishes while nothing is handled
	publisher *bus.DB

	running *process
}

// unit is a module as the bus sees it.
type unit struct {
	name       string
	publishes  []bus.Event
	sends      []bus.Command
	subscribes []bus.Subscription
}

func (u unit) Name() string                      { return u.name }
func (u unit) Publishes() []bus.Event            { return u.publishes }
func (u unit) Sends() []bus.Command              { return u.sends }
func (u unit) Subscriptions() []bus.Subscription { return u.subscribes }

const poolSize = 40 // connections of the publisher; ours has at most as many for each module

// oursHosted are the modules of the one process.
var oursHosted = append([]string{"payment"}, groups...)

// topology has, beside the modules that are hosted, others that publish: two
// topics each.
func (o *ours) topology(b behaviour) (*bus.Topology, error) {
	modules := []bus.Module{unit{name: "payment", publishes: []bus.Event{payment{}}}}
	for i, name := range groups {
		modules = append(modules, unit{name: name, subscribes: []bus.Subscription{bus.On(oursHandler(i, b))}})
	}
	for i := range o.others {
		published := other(fmt.Sprintf("other%d.published", i))
		modules = append(modules, unit{name: fmt.Sprintf("other%d", i), publishes: []bus.Event{published}})
	}
	if o.others > 0 {
		ignore := func(context.Context, *bus.Tx, bus.Received) error { return nil }
		modules = append(modules, unit{name: "listener", subscribes: []bus.Subscription{bus.OnEvery(ignore)}})
	}
	return bus.NewTopology(modules...)
}

// other is an event that is never published; its value is its name.
type other string

func (o other) EventName() string { return string(o) }
func (o other) Key() string       { return "none" }

func oursHandler(group int, b behaviour) func(context.Context, *bus.Tx, payment) error {
	insert, touch := fmt.Sprintf(insertEffect, "effects"), fmt.Sprintf(touchHot, "hot")
	failed := newFailures(b)
	return func(ctx context.Context, tx *bus.Tx, p payment) error {
		if _, err := tx.ExecContext(ctx, insert, p.ID, p.OrderKey, p.Amount); err != nil {
			return err
		}
		if failed.now(p.Seq) { // with its work done, so that there is something to undo
			return errOnce
		}
		if b.hot {
			if _, err := tx.ExecContext(ctx, touch, hotRow(p.Seq)); err != nil {
				return err
			}
		}
		tx.AfterCommit(func() { b.observer.effect(group, p.Seq) })
		return nil
	}
}

// failures makes the handler of each payment concerned fail once.
type failures struct {
	every int
	seen  sync.Map
}

func newFailures(b behaviour) *failures { return &failures{every: b.failEvery} }

func (f *failures) now(seq int) bool {
	if f.every == 0 || seq%f.every != 0 {
		return false
	}
	_, again := f.seen.LoadOrStore(seq, true)
	return !again
}

// hotRow spreads the payments over ten rows, in no order.
func hotRow(seq int) int { return int(uint32(seq) * 2654435761 >> 16 % 10) }

func openOurs(others int) func(context.Context, string) (contender, error) {
	return func(ctx context.Context, url string) (contender, error) {
		o := &ours{url: url, others: others, road: onPostgres(url)}
		return o, o.open(ctx, o.road)
	}
}

// openOursAlone gives each message a transaction of its own.
func openOursAlone(ctx context.Context, url string) (contender, error) {
	o := &ours{url: url, road: func(ctx context.Context, pool int, topo *bus.Topology, hosted []string) (transport, error) {
		cfg := databaseConfig(url, pool)
		cfg.BatchSize = 1
		return sqltransport.Open(ctx, cfg, topo, hosted)
	}}
	return o, o.open(ctx, o.road)
}

// open makes the tables, and the transport that publishes before the start.
func (o *ours) open(ctx context.Context, before road) (err error) {
	if o.topo, err = o.topology(behaviour{}); err != nil {
		return err
	}
	if err := admin.Migrate(ctx, o.url, o.topo); err != nil {
		return err
	}
	db, err := postgres.Open(ctx, postgres.Config{URL: o.url, Schema: "public", MaxConns: 1})
	if err != nil {
		return err
	}
	defer db.Close() //nolint:errcheck // nothing is lost with it
	if err := createOurs(ctx, db); err != nil {
		return err
	}
	o.before, err = before(ctx, poolSize, o.topo, []string{"payment"})
	if err != nil {
		return err
	}
	o.publisher = o.before.DB("payment")
	return nil
}

func createOurs(ctx context.Context, db *sql.DB) error {
	statements := []string{fmt.Sprintf(createPayments, "payment.")}
	for _, group := range groups {
		statements = append(statements, fmt.Sprintf(createEffects, group+".effects"), fmt.Sprintf(createHot, group+".hot"))
	}
	for _, s := range statements {
		if _, err := db.ExecContext(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

func (o *ours) publish(ctx context.Context, batch []payment) error {
	return o.publisher.InTx(ctx, func(tx *bus.Tx) error {
		if err := insertPayments(ctx, tx, batch); err != nil {
			return err
		}
		for _, p := range batch {
			if err := tx.Publish(p); err != nil {
				return err
			}
		}
		return nil
	})
}

func (o *ours) hosted() []string {
	if o.others > 0 {
		return append(slices.Clone(oursHosted), "listener")
	}
	return oursHosted
}

// start replaces the process that only published by one that hosts all.
func (o *ours) start(ctx context.Context, b behaviour) error {
	if err := o.before.Close(); err != nil {
		return err
	}
	o.before = nil
	topo, err := o.topology(b)
	if err != nil {
		return err
	}
	if o.running, err = startProcess(ctx, o.road, poolSize, topo, o.hosted()); err != nil {
		return err
	}
	o.publisher = o.running.transport.DB("payment")
	return nil
}

func (o *ours) stop() error { return o.running.stop() }

func (o *ours) effects() []string {
	var tables []string
	for _, group := range groups {
		tables = append(tables, group+".effects")
	}
	return tables
}

func (o *ours) close() error {
	if o.before != nil {
		return o.before.Close()
	}
	return nil
}
