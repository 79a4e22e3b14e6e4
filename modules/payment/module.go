// Package payment charges users for orders and refunds them.
//
// # Flow
//
// A request to pay stores the payment and records an outbound call to the gateway
// in one transaction, and is answered. After the commit the gateway is called.
// The result arrives as a signed callback, as the response to our call, or both,
// in any order and any number of times. The module locks the charge's row, stores
// the result, and a strategy chosen by order kind and gateway status completes or
// fails the payment and publishes payment.completed or payment.failed, all in one
// transaction.
//
// # Guarantees
//
//   - At most one payment of an order is open or successful (a unique index). An
//     order can be paid again after its payment failed. A deposit can also be
//     paid again after a full refund, because a consultation keeps its order key.
//   - At most one charge per payment: every request to the gateway carries the
//     payment's transaction key as idempotency key.
//   - Only the provider's own answer is final: a status or code of its contract,
//     in the contract's format, about this charge (see package gateway). After a
//     time-out, an error page of a proxy or an unknown code the payment stays
//     pending, and the charge is looked up before it is requested again. Refunds
//     work the same way.
//   - 0 ≤ refunded ≤ captured ≤ amount (CHECK). Every change of status or amounts
//     has a row in payment_history, written by the same statement.
//   - A callback that is forged, stale, malformed, too large, about an unknown
//     transaction or with a different order, amount or currency changes nothing.
//   - A repeated callback changes nothing and gets the same 204.
//   - A late callback changes a final payment only if it is about money. A charge
//     that succeeds after its payment failed completes the payment. If the order
//     has another payment that is open or successful, the charge is refunded
//     instead, and the order cannot be paid again until then. Money that the
//     provider returned, in full or in part, is added to the refunded amount;
//     payment.refunded is published when all of it was returned.
//   - Contradictory and unknown results, and the cases above, are listed for a
//     person (table attention, millrace payments --needs-attention).
//   - A payment or refund without a result gets status checks: the first after
//     Config.StatusCheckAfter, then at doubled intervals of at most an hour. After two
//     checks without a result, or after a day, it is listed.
//   - A refund command for a pending payment is stored. The transaction that
//     captures the payment starts the refund; if nothing is captured the refund
//     is dropped. A refund command for an order without an open or captured
//     payment becomes a dead letter, because its sender expects money that was
//     never taken. Retry it once the order is paid.
//   - A refund that the gateway refuses leaves the payment completed and is
//     listed. The refusal is in the history, and another payment.refund command
//     requests the refund again.
//
// # Not guaranteed
//
//   - That the gateway is called exactly once. It is called at least once and
//     must honour idempotency keys (see package gateway).
//   - Partial refunds, except those made at the provider. Payments without a
//     callback secret: if none is configured, every callback is refused.
//
// # Locks
//
// Lock order for one payment: its row in charges, in payments, the order (an
// advisory lock; a transaction that waits for it has locked rows of a failed
// payment at most), its rows in refunds, and then inserts. Status checks, and the
// note that the gateway is about to be called, lock rows in charges or in refunds
// only. Status checks skip locked rows.
//
// Card numbers are never stored: a payment method is a word without digits.
package payment

import (
	"context"
	"embed"
	"io/fs"
	"time"

	"millrace/modules/payment/gateway"
	"millrace/modules/payment/paymentapi"
	"millrace/platform/bus"
	"millrace/platform/module"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Config holds the module's settings. Their defaults are in package config.
type Config struct {
	Provider       string        // the gateway's name, stored with every payment
	GatewayURL     string        // the gateway's base address, as "http://127.0.0.1:9090"
	GatewayTimeout time.Duration // of one request; more than 0
	// CallbackURL is the address at which the gateway reaches POST
	// /callbacks/gateway.
	CallbackURL string
	// CallbackSecrets verify callbacks, in the form that gateway.Secret reads.
	// Configure two while one is being replaced. With none, every callback is
	// refused.
	CallbackSecrets  []string
	StatusCheckAfter time.Duration // time without a result before the first status check; more than 0
}

// Module is the payment module.
type Module struct {
	module.Base
	service *service
}

// New returns the module. db is nil where the module is only declared and does
// not run.
func New(db *bus.DB, cfg Config) *Module {
	return newModule(db, cfg, gateway.NewClient(cfg.GatewayURL, cfg.GatewayTimeout))
}

func newModule(db *bus.DB, cfg Config, g gateway.Gateway) *Module {
	s := &service{db: db, provider: cfg.Provider, ownURL: cfg.CallbackURL, now: func() time.Time { return time.Now().UTC() }}
	for _, secret := range cfg.CallbackSecrets {
		s.secrets = append(s.secrets, gateway.Secret(secret))
	}
	s.outbound = newOutboundCalls(s, g, cfg)
	return &Module{service: s}
}

// Name is the module's schema and subscriber name.
func (m *Module) Name() string { return "payment" }

// Publishes lists the module's events.
func (m *Module) Publishes() []bus.Event {
	return []bus.Event{paymentapi.Completed{}, paymentapi.Failed{}, paymentapi.Refunded{}}
}

// Subscriptions lists the commands that the module handles.
func (m *Module) Subscriptions() []bus.Subscription {
	return []bus.Subscription{
		bus.Handle(m.handleRefund), // payment.refund
	}
}

// Migrations returns the module's migrations.
func (m *Module) Migrations() fs.FS { return module.Migrations(migrations) }

// Run makes outbound calls and status checks until ctx is done.
func (m *Module) Run(ctx context.Context) error { return m.service.run(ctx) }
