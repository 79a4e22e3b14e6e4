// Package payment takes money for orders and gives it back.
//
// # The way of a payment
//
// A user asks to pay; the payment and the intent to charge are recorded in one
// transaction, and answered. After the commit the gateway is asked. The result
// comes as a signed callback, as the answer to our request, or both, in any
// order and any number of times. Under the lock of the charge's row it is
// saved, a strategy chosen by the kind of order and the gateway's status
// completes or fails the payment, and payment.completed or payment.failed is
// published, all in one transaction.
//
// # What it promises
//
//   - At most one payment of an order is open or captured (a unique index); an
//     order can be paid again only after its payment failed.
//   - At most one charge of a payment: the gateway is always asked with the
//     payment's transaction key as idempotency key. A time-out is no failure:
//     the result is unknown, the payment stays pending, and is asked about again
//     with the same key.
//   - 0 ≤ refunded ≤ captured ≤ amount (CHECK). Every change of status or
//     amounts has its row in payment_history, written by the same statement.
//   - A callback that is forged, stale, malformed, too large, about an unknown
//     transaction or with another order, amount or currency changes nothing.
//   - A repeated callback changes nothing and gets the same 204; a late one
//     never moves a final payment. A pair of kind and status that has no
//     strategy is stored, shown, logged as an error, answered 204, and moves
//     nothing.
//   - A payment or refund without a result is asked about again each
//     Config.ChaseAfter, for ever.
//   - A refund asked for while its payment is open is kept; it starts in the
//     transaction that captures, and is dropped if nothing is captured. One of
//     an order that has nothing open or captured is a dead letter: somebody
//     expects money that was never taken. Retry it once the order is paid.
//   - A refund that the gateway refuses for good leaves the payment completed;
//     the refusal is in the history, and another payment.refund asks anew.
//
// # What it does not promise
//
//   - That the gateway is asked once: it is asked at least once, and must keep
//     its promise about idempotency keys (package gateway).
//   - Refunds in parts. Payments without a callback secret: with none
//     configured every callback is refused.
//   - That a success told after a failure is mended: the result is stored as a
//     contradiction and logged as an error, and somebody must look.
//
// # Locks
//
// Per payment: the row in charges, then payments, then refunds; then new rows.
// The chase locks rows in charges, or in refunds, alone, and skips locked ones.
//
// No card number is ever taken: a method is a word without digits.
package payment

import (
	"context"
	"embed"
	"io/fs"
	"time"

	"millrace/modules/payment/gateway"
	"millrace/modules/payment/paymentapi"
	"millrace/platform/bus"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Config is what may be set from outside.
type Config struct {
	Provider       string        // the gateway's name, kept with every payment; default "simulator"
	GatewayURL     string        // where it is asked, as "http://127.0.0.1:9090"
	GatewayTimeout time.Duration // of one request to it; default 5 s
	// CallbackURL is where the gateway reaches POST /callbacks/gateway.
	CallbackURL string
	// CallbackSecrets are those that sign callbacks, as gateway.Secret reads
	// them; two while one is being replaced. With none, every callback is refused.
	CallbackSecrets []string
	ChaseAfter      time.Duration // how long a result may be missing before it is asked for again; default 1 min
}

// Module is the payment module.
type Module struct{ service *service }

// New makes the module on its database, which is nil where the module is only
// declared and not hosted.
func New(db *bus.DB, cfg Config) *Module {
	if cfg.GatewayTimeout <= 0 {
		cfg.GatewayTimeout = 5 * time.Second
	}
	return newModule(db, cfg, gateway.NewClient(cfg.GatewayURL, cfg.GatewayTimeout))
}

func newModule(db *bus.DB, cfg Config, g gateway.Gateway) *Module {
	if cfg.Provider == "" {
		cfg.Provider = "simulator"
	}
	if cfg.ChaseAfter <= 0 {
		cfg.ChaseAfter = time.Minute
	}
	s := &service{db: db, provider: cfg.Provider, ownURL: cfg.CallbackURL, now: func() time.Time { return time.Now().UTC() }}
	for _, secret := range cfg.CallbackSecrets {
		s.secrets = append(s.secrets, gateway.Secret(secret))
	}
	s.outside = newOutside(s, g, cfg)
	return &Module{service: s}
}

// Name is the module's schema and subscriber.
func (m *Module) Name() string { return "payment" }

// Publishes lists its events.
func (m *Module) Publishes() []bus.Event {
	return []bus.Event{paymentapi.Completed{}, paymentapi.Failed{}, paymentapi.Refunded{}}
}

// Sends lists the commands that it sends: none.
func (m *Module) Sends() []bus.Command { return nil }

// Subscriptions lists what it handles.
func (m *Module) Subscriptions() []bus.Subscription {
	return []bus.Subscription{
		bus.Handle(m.giveBack), // payment.refund
	}
}

// Migrations are its tables.
func (m *Module) Migrations() fs.FS {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // the folder is compiled in
	}
	return files
}

// Run asks the gateway until ctx is done.
func (m *Module) Run(ctx context.Context) error { return m.service.run(ctx) }
