// Package delivery brings paid orders of goods to their addresses.
//
// # What it promises
//
//   - A paid order of goods has exactly one delivery, in awaiting_address until
//     somebody says where it goes. The address may come before the payment or
//     after it, at the same moment even: the delivery is prepared once.
//   - An address that no carrier serves fails the delivery. The delivery.failed
//     and the command to payment to give the money back are said in the
//     transaction that fails it.
//   - A refund cancels a delivery that has not been shipped. A parcel that has
//     left, and a delivery that failed, keep their state; the refund is in
//     their history.
//   - The state machine is one table (moves). Every change of state has its row
//     of history, and its event if the table of events has one, in the same
//     transaction.
//   - A repeated request, or a message heard again, changes nothing and says
//     nothing.
//
// # What it does not promise
//
//   - That an address exists. Its form is checked, and whether a carrier goes
//     there, by country and postcode.
//   - A second delivery for an order. One that was paid again by another
//     payment is a dead letter: somebody must look.
//
// Ship and deliver are asked for by the warehouse and the carrier. With
// Config.AutoProgress the module does both by itself, since in development
// nobody packs parcels. A parcel that cannot be moved on is logged and tried
// again each second.
//
// Names, telephone numbers and addresses never leave this module; the reason of
// a failure names the area that is not served, not the address.
package delivery

import (
	"context"
	"embed"
	"io/fs"
	"time"

	"millrace/modules/delivery/deliveryapi"
	"millrace/modules/payment/paymentapi"
	"millrace/platform/bus"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Config is what may be set from outside.
type Config struct {
	// AutoProgress ships prepared deliveries and delivers shipped ones without
	// being asked. For development and demonstrations.
	AutoProgress bool
	// AutoProgressAfter is how long a delivery then stays prepared, and shipped;
	// 0 moves it on at once.
	AutoProgressAfter time.Duration
}

// Module is the delivery module.
type Module struct {
	service  service
	progress *progress // nil when the warehouse and the carrier ask
}

// New makes the module on its database, which is nil where the module is only
// declared and not hosted.
func New(db *bus.DB, cfg Config) *Module {
	m := &Module{service: service{db: db, moved: func() {}}}
	if cfg.AutoProgress {
		wake := make(chan struct{}, 1)
		m.progress = &progress{service: &m.service, rest: max(cfg.AutoProgressAfter, 0), wake: wake}
		m.service.moved = func() {
			select {
			case wake <- struct{}{}:
			default: // it is about to look anyway
			}
		}
	}
	return m
}

// Name is the module's schema and subscriber.
func (m *Module) Name() string { return "delivery" }

// Publishes lists its events.
func (m *Module) Publishes() []bus.Event {
	return []bus.Event{
		deliveryapi.Prepared{}, deliveryapi.Shipped{}, deliveryapi.Delivered{}, deliveryapi.Failed{}, deliveryapi.Cancelled{},
	}
}

// Sends lists the commands that it sends to others.
func (m *Module) Sends() []bus.Command { return []bus.Command{paymentapi.Refund{}} }

// Subscriptions lists what it hears.
func (m *Module) Subscriptions() []bus.Subscription {
	return []bus.Subscription{
		bus.On(m.prepareDelivery), // payment.completed
		bus.On(m.cancelDelivery),  // payment.refunded
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

// Run moves deliveries on if the module was told to; until ctx is done.
func (m *Module) Run(ctx context.Context) error {
	if m.progress == nil {
		<-ctx.Done()
		return nil
	}
	return m.progress.run(ctx)
}
