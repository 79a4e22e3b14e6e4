package main

import (
	"context"

	"millrace/modules/delivery/deliveryapi"
	"millrace/modules/payment/gateway"
	"millrace/modules/payment/paymentapi"
	"millrace/platform/bus"
	"millrace/platform/bus/admin"
	"millrace/platform/postgres"
)

// oursPayPool is the default size of each module's pool; stock has as many connections in all.
const oursPayPool = 10

// oursPay does the work of "payments" on our bus.
type oursPay struct {
	*process
	publisher *bus.DB
}

func openOursPay(ctx context.Context, url string, payments int, done func(seq int)) (payer, error) {
	topo, err := bus.NewTopology(
		unit{name: "payment", publishes: []bus.Event{paymentapi.Completed{}}},
		unit{name: "delivery", publishes: []bus.Event{deliveryapi.Prepared{}}, subscribes: []bus.Subscription{
			bus.On(func(ctx context.Context, tx *bus.Tx, e paymentapi.Completed) error {
				prepared, err := prepare(ctx, tx, tx.Cause(), e)
				if err != nil {
					return err
				}
				tx.AfterCommit(func() { done(seqOf(e.OrderKey)) })
				return tx.Publish(prepared)
			})}},
		unit{name: "notification", subscribes: []bus.Subscription{
			bus.On(func(ctx context.Context, tx *bus.Tx, e paymentapi.Completed) error {
				tx.AfterCommit(func() { done(seqOf(e.OrderKey)) })
				return notify(ctx, tx, tx.Cause(), e)
			})}},
		unit{name: "dataplatform", subscribes: []bus.Subscription{
			bus.OnEvery(func(ctx context.Context, tx *bus.Tx, r bus.Received) error {
				tx.AfterCommit(func() { done(seqOf(r.Key)) })
				return stage(ctx, tx, r)
			})}},
	)
	if err != nil {
		return nil, err
	}
	if err := admin.Migrate(ctx, url, topo); err != nil {
		return nil, err
	}
	db, err := postgres.Open(ctx, postgres.Config{URL: url, Schema: "public", MaxConns: 1})
	if err != nil {
		return nil, err
	}
	defer db.Close() //nolint:errcheck // nothing is lost with it
	if err := fillPayments(ctx, db, payments); err != nil {
		return nil, err
	}
	p, err := startProcess(ctx, onPostgres(url), oursPayPool, topo, oursHosted)
	if err != nil {
		return nil, err
	}
	return &oursPay{p, p.transport.DB("payment")}, nil
}

func (o *oursPay) callback(ctx context.Context, r gateway.Result, webhook string) error {
	return o.publisher.InTx(ctx, func(tx *bus.Tx) error {
		completed, err := settle(ctx, tx, r, webhook)
		if err != nil {
			return err
		}
		return tx.Publish(completed)
	})
}
