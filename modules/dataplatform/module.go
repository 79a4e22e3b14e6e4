package dataplatform

import (
	"context"
	"embed"
	"io/fs"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"millrace/platform/bus"
	"millrace/platform/module"
)

// Config configures the module. The defaults are in package config.
type Config struct {
	Dir        string        // folder for the files, created if missing
	Own        bool          // Dir is inside the program's own data folder: then neither may belong to another user, and Dir may not be a link
	FlushRows  int           // records that make a file due, and the maximum in one file
	FlushEvery time.Duration // age of the oldest record that makes a file due
}

// Module is the data platform module.
type Module struct {
	module.Base
	service *service
}

// New creates the module. db is nil where the module is only declared and not
// hosted.
func New(db *bus.DB, cfg Config) *Module {
	return &Module{service: newService(db, cfg)}
}

// Name returns the name of the module's schema and subscriber.
func (m *Module) Name() string { return "dataplatform" }

// Subscriptions lists the events that the module handles.
func (m *Module) Subscriptions() []bus.Subscription {
	return []bus.Subscription{
		bus.OnEvery(m.stage), // every event of every module
	}
}

// Routes registers the module's HTTP operations.
func (m *Module) Routes(api huma.API) { m.service.routes(api) }

// Run writes files until ctx is done; a file that was started is finished
// first.
func (m *Module) Run(ctx context.Context) error { return m.service.flush(ctx) }

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations returns the module's migrations.
func (m *Module) Migrations() fs.FS { return module.Migrations(migrations) }
