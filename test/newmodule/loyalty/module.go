// Package loyalty gives points for payments: one for each 100 minor units.
package loyalty

import (
	"embed"
	"io/fs"

	"millrace/platform/bus"
	"millrace/platform/module"
	"millrace/test/newmodule/loyalty/loyaltyapi"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Module is the loyalty module.
type Module struct{ module.Base }

// New makes the module. Its database handle is nil where the module is only
// declared and not hosted; this module needs no handle, its handlers get a Tx.
func New(*bus.DB) *Module { return &Module{} }

// Name is the module's schema and subscriber.
func (m *Module) Name() string { return "loyalty" }

// Publishes lists its events.
func (m *Module) Publishes() []bus.Event { return []bus.Event{loyaltyapi.PointsAwarded{}} }

// Subscriptions lists its handlers.
func (m *Module) Subscriptions() []bus.Subscription {
	return []bus.Subscription{
		bus.On(m.awardPoints), // payment.completed
	}
}

// Migrations are its tables.
func (m *Module) Migrations() fs.FS { return module.Migrations(migrations) }
