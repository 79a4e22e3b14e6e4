package dataplatform

import (
	"context"
	"embed"
	"io/fs"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"millrace/platform/bus"
)

// Config is the module's configuration. The zero value works.
type Config struct {
	Dir        string        // where the files go, made if missing; "" means .data/dataplatform
	FlushRows  int           // a file is begun when so many records wait, and has at most so many; 0 means 10,000
	FlushEvery time.Duration // or when the oldest has waited so long; 0 means 5 s
}

// Module is the data platform.
type Module struct {
	service *service
}

// New makes the module. db is nil when it is not hosted in this process.
func New(db *bus.DB, cfg Config) *Module {
	if cfg.Dir == "" {
		cfg.Dir = ".data/dataplatform"
	}
	if cfg.FlushRows <= 0 {
		cfg.FlushRows = 10_000
	}
	if cfg.FlushEvery <= 0 {
		cfg.FlushEvery = 5 * time.Second
	}
	return &Module{service: newService(db, cfg)}
}

// Name is the module's schema and subscriber.
func (m *Module) Name() string { return "dataplatform" }

// Publishes and Sends are empty: it only listens.
func (m *Module) Publishes() []bus.Event { return nil }
func (m *Module) Sends() []bus.Command   { return nil }

// Subscriptions lists what the module hears.
func (m *Module) Subscriptions() []bus.Subscription {
	return []bus.Subscription{
		bus.OnEvery(m.stage), // every event of every module
	}
}

// Routes registers what the module serves.
func (m *Module) Routes(api huma.API) { m.service.routes(api) }

// Run writes files until ctx is done; a file that was begun is finished.
func (m *Module) Run(ctx context.Context) error { return m.service.flush(ctx) }

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations returns the module's tables.
func (m *Module) Migrations() fs.FS {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // the folder is embedded above
	}
	return files
}
