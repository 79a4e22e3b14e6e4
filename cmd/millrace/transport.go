package main

import (
	"context"
	"log/slog"

	"millrace/cmd/millrace/app"
	"millrace/config"
	"millrace/platform/bus/admin"
)

type transportCmd struct {
	Name string `arg:"" enum:"postgres,kafka" help:"postgres or kafka."`
}

// Run moves an installation from one transport to the other. It refuses while any
// process serves from the database.
func (c *transportCmd) Run(ctx context.Context, cfg config.Config, log *slog.Logger, out *output) error {
	database, err := app.OpenDatabase(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer func() { _ = database.Close() }() // all work on it is done
	topo, err := app.Topology()
	if err != nil {
		return err
	}
	if err := app.Migrate(ctx, cfg, database); err != nil {
		return err
	}
	if err := admin.Switch(ctx, database.URL(), topo, c.Name); err != nil {
		return err
	}
	out.Printf("Messages travel by %[1]s from now on: start the program with MILLRACE_TRANSPORT=%[1]s (transport: %[1]s).\n", c.Name)
	return nil
}
