// Package spending asks payment for a refund of a payment that takes what a user
// has paid in one currency over a limit.
package spending

import (
	"embed"
	"io/fs"

	"millrace/modules/payment/paymentapi"
	"millrace/platform/bus"
	"millrace/platform/module"
)

//go:embed migrations/*.sql
var migrations embed.FS

// limit is what a user may pay in one currency, in minor units.
const limit = 100_000_000

// Module is the spending module.
type Module struct{ module.Base }

// New makes the module, which needs no database handle: its handlers get a Tx.
func New(*bus.DB) *Module { return &Module{} }

// Name is the module's schema and subscriber.
func (m *Module) Name() string { return "spending" }

// Sends lists the commands that it sends.
func (m *Module) Sends() []bus.Command { return []bus.Command{paymentapi.Refund{}} }

// Subscriptions lists its handlers.
func (m *Module) Subscriptions() []bus.Subscription {
	return []bus.Subscription{
		bus.On(m.addPayment),      // payment.completed
		bus.On(m.subtractPayment), // payment.refunded
	}
}

// Migrations are its tables.
func (m *Module) Migrations() fs.FS { return module.Migrations(migrations) }
