package bus_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"

	"millrace/platform/bus"
	"millrace/platform/bus/admin"
	"millrace/platform/bus/sqltransport"
	"millrace/platform/errs"
	"millrace/platform/postgres/pgtest"
)

// The examples run: each one on a database of its own, with the real transport.

// OrderPaid is an event: a fact, in the past tense, under its owner's name.
type OrderPaid struct {
	OrderKey string `json:"orderKey"`
	Amount   int64  `json:"amount"`
}

func (OrderPaid) EventName() string { return "till.paid" }
func (e OrderPaid) Key() string     { return e.OrderKey }

// Refund is a command: addressed to the one module that owns it.
type Refund struct {
	OrderKey string `json:"orderKey"`
}

func (Refund) CommandName() string { return "till.refund" }
func (c Refund) Key() string       { return c.OrderKey }

// till is the module that the examples speak through.
var till = unit{name: "till", publishes: []bus.Event{OrderPaid{}}}

// play runs the modules on a database of their own while f uses the till's handle.
func play(f func(ctx context.Context, db *bus.DB), modules ...bus.Module) {
	ctx := context.Background()
	end := &ending{}
	defer end.run()
	url := pgtest.URL(end)
	topo, err := bus.NewTopology(modules...)
	must(err)
	must(admin.Migrate(ctx, url, topo))
	quiet := slog.New(slog.DiscardHandler)
	transport, err := sqltransport.Open(ctx, sqltransport.Config{URL: url, Logger: quiet}, topo, topo.Modules())
	must(err)
	router, err := bus.NewRouter(topo, topo.Modules(), transport.Subscriber, quiet, watermill.NopLogger{})
	must(err)
	ended := make(chan error, 1)
	go func() { ended <- router.Run(ctx) }()
	<-router.Running()

	f(ctx, transport.DB("till"))

	must(transport.Drain(ctx))
	must(router.Close())
	must(<-ended)
	must(transport.Close())
}

// ending gives an example, which has no testing.T, what pgtest needs of one.
type ending struct {
	testing.TB
	cleanups []func()
}

func (*ending) Helper()                           {}
func (e *ending) Cleanup(f func())                { e.cleanups = append(e.cleanups, f) }
func (*ending) Errorf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (*ending) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (e *ending) run() {
	for _, f := range e.cleanups {
		f()
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// next waits for what a handler did.
func next(done <-chan string) string {
	select {
	case what := <-done:
		return what
	case <-time.After(time.Minute):
		return "nothing in a minute"
	}
}

// A module subscribes to another's event; its handler runs in the transaction
// that also moves its committed offset.
func ExampleOn() {
	done := make(chan string, 1)
	prepare := func(_ context.Context, tx *bus.Tx, paid OrderPaid) error {
		tx.AfterCommit(func() {
			done <- fmt.Sprintf("preparing %s, published by %s as message %d of its partition", paid.OrderKey, tx.Cause().Source, tx.Cause().Sequence)
		})
		return nil
	}
	delivery := unit{name: "delivery", handles: []bus.Subscription{bus.On(prepare)}}
	play(func(ctx context.Context, db *bus.DB) {
		must(db.InTx(ctx, func(tx *bus.Tx) error { return tx.Publish(OrderPaid{"goods-17", 4900}) }))
		fmt.Println(next(done))
	}, till, delivery)
	// Output: preparing goods-17, published by till as message 1 of its partition
}

// A command has exactly one handler, in the module that owns it.
func ExampleHandle() {
	done := make(chan string, 1)
	refund := func(_ context.Context, tx *bus.Tx, c Refund) error {
		tx.AfterCommit(func() { done <- "refunded " + c.OrderKey })
		return nil
	}
	owner := unit{name: "till", sends: []bus.Command{Refund{}}, handles: []bus.Subscription{bus.Handle(refund)}}
	play(func(ctx context.Context, db *bus.DB) {
		must(db.InTx(ctx, func(tx *bus.Tx) error { return tx.Send(Refund{"goods-17"}) }))
		fmt.Println(next(done))
	}, owner)
	// Output: refunded goods-17
}

// A module that subscribes to every event gets messages as they arrived.
func ExampleOnEvery() {
	done := make(chan string, 1)
	keep := func(_ context.Context, tx *bus.Tx, r bus.Received) error {
		tx.AfterCommit(func() { done <- fmt.Sprintf("%s %s %s", r.Type, r.Key, r.Data) })
		return nil
	}
	play(func(ctx context.Context, db *bus.DB) {
		must(db.InTx(ctx, func(tx *bus.Tx) error { return tx.Publish(OrderPaid{"goods-17", 4900}) }))
		fmt.Println(next(done))
	}, till, unit{name: "archive", handles: []bus.Subscription{bus.OnEvery(keep)}})
	// Output: till.paid goods-17 {"orderKey":"goods-17","amount":4900}
}

// What a use case writes and what it publishes commit together, or not at all.
func ExampleDB_InTx() {
	play(func(ctx context.Context, db *bus.DB) {
		err := db.InTx(ctx, func(tx *bus.Tx) error {
			if err := tx.Publish(OrderPaid{"goods-17", 4900}); err != nil {
				return err
			}
			return errs.New(errs.Conflict, "the order was paid before")
		})
		var published int
		must(db.QueryRowContext(ctx, `SELECT count(*) FROM log`).Scan(&published))
		fmt.Printf("%v; %d messages\n", err, published)
	}, till)
	// Output: the order was paid before; 0 messages
}

// An event that the module did not declare, or one that is too large, is
// refused, and the transaction is as good as before.
func ExampleTx_Publish() {
	play(func(ctx context.Context, db *bus.DB) {
		must(db.InTx(ctx, func(tx *bus.Tx) error {
			fmt.Println(tx.Publish(OrderPaid{"", 4900}))
			fmt.Println(tx.Publish(sold{"goods-17"}))
			return tx.Publish(OrderPaid{"goods-17", 4900})
		}))
		var published int
		must(db.QueryRowContext(ctx, `SELECT count(*) FROM log`).Scan(&published))
		fmt.Println(published, "message")
	}, till)
	// Output:
	// till.paid: the key "" must be UTF-8 without control characters, 1 to 255 bytes
	// module till publishes till.sold without declaring it in Publishes()
	// 1 message
}

// The kind of a handler's error decides what follows. A
// dead letter holds back the later messages of its key, and nothing else.
func ExampleOn_deadLetter() {
	done := make(chan string, 1)
	ship := func(_ context.Context, tx *bus.Tx, paid OrderPaid) error {
		if paid.Amount < 0 {
			return errs.InvalidField("amount", "is %d", paid.Amount)
		}
		tx.AfterCommit(func() { done <- "shipped " + paid.OrderKey })
		return nil
	}
	play(func(ctx context.Context, db *bus.DB) {
		must(db.InTx(ctx, func(tx *bus.Tx) error {
			for _, e := range []OrderPaid{{"goods-1", -1}, {"goods-1", 100}, {"goods-2", 100}} {
				if err := tx.Publish(e); err != nil {
					return err
				}
			}
			return nil
		}))
		fmt.Println(next(done))
	}, till, unit{name: "shipping", handles: []bus.Subscription{bus.On(ship)}})
	// Output: shipped goods-2
}
