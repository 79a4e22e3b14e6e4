package main

import (
	"context"
	"errors"
	"log/slog"

	"millrace/cmd/millrace/app"
	"millrace/config"
)

type serveCmd struct {
	Modules []string `placeholder:"NAME,…" help:"Modules that this process hosts; the default is all."`
}

// Run serves until ctx ends.
func (c *serveCmd) Run(ctx context.Context, cfg config.Config, log *slog.Logger, out *output) error {
	if len(c.Modules) > 0 {
		cfg.Modules = c.Modules
	}
	a, err := app.New(ctx, cfg, app.Options{Version: version(), Log: log})
	if err != nil {
		if ctx.Err() != nil {
			return nil //nolint:nilerr // a signal arrived before the start was complete; no work was in flight
		}
		return err
	}
	ended := make(chan struct{})
	announced := make(chan struct{})
	go func() {
		defer close(announced)
		select {
		case <-a.Ready():
			out.announce(log, "Millrace is ready: %s/\n", a.URL())
		case <-ended:
		}
	}()
	err = a.Run(ctx)
	close(ended)
	<-announced
	return errors.Join(err, a.Close())
}
