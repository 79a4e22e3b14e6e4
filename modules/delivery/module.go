// Package delivery delivers paid orders of goods.
//
// # Guarantees
//
//   - A paid order of goods has exactly one delivery. It is in awaiting_address
//     until its address is set. The address may be set before or after the
//     payment, or concurrently with it: the delivery is prepared once.
//   - An address that no carrier serves fails the delivery. The same transaction
//     publishes delivery.failed and sends payment the command to refund.
//   - A refund of the delivery's payment cancels a delivery that has not been
//     shipped. A delivery that was shipped or failed keeps its state; the refund
//     is recorded in its history. A refund of another payment of the order, as of
//     a duplicate charge, changes nothing.
//   - A change may have a condition, If-Match or the expected status, which is
//     checked under the same lock as the change. ETag is one version for an
//     order's delivery and address. Without a condition the last change wins.
//   - The state machine is one table (moves). Every change of state has a row of
//     history in the same transaction, and an event if the new state has one.
//   - A repeated request or message changes nothing and publishes nothing.
//
// # Not guaranteed
//
//   - That an address exists. Its format is checked, and whether a carrier serves
//     it, by country and postcode.
//   - A second delivery for an order. If another payment of the order succeeds,
//     the message becomes a dead letter and a person must look.
//
// The warehouse and the carrier request the actions ship and deliver. With
// Config.AutoProgress the module does both by itself, for development, where
// nobody packs parcels. If a step fails it is logged and retried each second.
//
// Names, telephone numbers and addresses never leave this module. The reason of a
// failure names the area that is not served, not the address.
package delivery

import (
	"context"
	"embed"
	"io/fs"
	"time"

	"millrace/modules/delivery/deliveryapi"
	"millrace/modules/payment/paymentapi"
	"millrace/platform/bus"
	"millrace/platform/module"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Config holds the module's settings.
type Config struct {
	// AutoProgress ships prepared deliveries and delivers shipped ones automatically.
	// For development and demonstrations.
	AutoProgress bool
	// AutoProgressAfter is how long AutoProgress leaves a delivery prepared, and then
	// shipped; 0 means no delay.
	AutoProgressAfter time.Duration
}

// Module is the delivery module.
type Module struct {
	module.Base
	service  service
	progress *progress // nil without Config.AutoProgress
}

// New returns the module. db is nil where the module is only declared and does
// not run.
func New(db *bus.DB, cfg Config) *Module {
	m := &Module{service: service{db: db, moved: func() {}}}
	if cfg.AutoProgress {
		wake := make(chan struct{}, 1)
		m.progress = &progress{service: &m.service, rest: max(cfg.AutoProgressAfter, 0), wake: wake}
		m.service.moved = func() {
			select {
			case wake <- struct{}{}:
			default: // a wake-up is pending already
			}
		}
	}
	return m
}

// Name is the module's schema and subscriber name.
func (m *Module) Name() string { return "delivery" }

// Publishes lists the module's events.
func (m *Module) Publishes() []bus.Event {
	return []bus.Event{
		deliveryapi.Prepared{}, deliveryapi.Shipped{}, deliveryapi.Delivered{}, deliveryapi.Failed{}, deliveryapi.Cancelled{},
	}
}

// Sends lists the commands that the module sends to other modules.
func (m *Module) Sends() []bus.Command { return []bus.Command{paymentapi.Refund{}} }

// Subscriptions lists the events that the module handles.
func (m *Module) Subscriptions() []bus.Subscription {
	return []bus.Subscription{
		bus.On(m.prepareDelivery), // payment.completed
		bus.On(m.cancelDelivery),  // payment.refunded
	}
}

// Migrations returns the module's migrations.
func (m *Module) Migrations() fs.FS { return module.Migrations(migrations) }

// Run ships and delivers automatically, if the module is configured so, until ctx
// is done.
func (m *Module) Run(ctx context.Context) error {
	if m.progress == nil {
		return m.Base.Run(ctx)
	}
	return m.progress.run(ctx)
}
