// Package module defines what a module of the product provides to the program
// that hosts it: messages, tables, HTTP operations, background work, health
// checks and metrics.
//
// A module embeds [Base] and implements only what it has. Name is the one
// method that every module must implement:
//
//	type Module struct {
//		module.Base
//		db *bus.DB
//	}
//
//	func (*Module) Name() string { return "loyalty" }
//
// A method with the right name and the wrong signature does not compile,
// because it hides the one of Base. docs/adding-a-module.md lists all steps.
package module

import (
	"context"
	"embed"
	"io/fs"

	"github.com/danielgtaylor/huma/v2"

	"millrace/platform/bus"
	"millrace/platform/telemetry"
)

// Module is a module of the product. Except Run, all methods are also called on
// a module that is only declared, whose database handle is nil.
type Module interface {
	bus.Module
	// Migrations returns the goose migrations, with the files at the root; they
	// are applied in the module's schema.
	Migrations() fs.FS
	// Routes registers the module's HTTP operations.
	Routes(api huma.API)
	// Run does the module's background work until ctx is done, then returns
	// nil. If it returns earlier, the program ends with an error.
	Run(ctx context.Context) error
	// Checks returns further conditions for sending requests to the module's
	// process.
	Checks() []telemetry.Check
	// Metrics returns figures for dashboards and alerts.
	Metrics() []telemetry.Metric
}

// Base is a module with no messages, tables, operations, background work,
// checks or metrics.
type Base struct{}

// Publishes returns no events.
func (Base) Publishes() []bus.Event { return nil }

// Sends returns no commands.
func (Base) Sends() []bus.Command { return nil }

// Subscriptions returns no handlers.
func (Base) Subscriptions() []bus.Subscription { return nil }

// Migrations returns no files.
func (Base) Migrations() fs.FS { return embed.FS{} }

// Routes registers nothing.
func (Base) Routes(huma.API) {}

// Run waits until ctx is done.
func (Base) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Checks returns none.
func (Base) Checks() []telemetry.Check { return nil }

// Metrics returns none.
func (Base) Metrics() []telemetry.Metric { return nil }

// Migrations returns the files of the folder migrations, which a module embeds
// with
//
//	//go:embed migrations/*.sql
func Migrations(embedded embed.FS) fs.FS {
	files, err := fs.Sub(embedded, "migrations")
	if err != nil {
		panic(err) // impossible: "migrations" is a valid path
	}
	return files
}
