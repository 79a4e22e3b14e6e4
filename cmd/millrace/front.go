package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"millrace/cmd/millrace/front"
	"millrace/config"
)

type frontCmd struct {
	To      []string `placeholder:"MODULE=URL" help:"Where a module is: once for each, as --to payment=http://127.0.0.1:8081. The default is front.modules."`
	Address string   `placeholder:"HOST:PORT" help:"Where to listen; the default is http.address."`
}

// Run passes requests on until ctx ends.
func (c *frontCmd) Run(ctx context.Context, cfg config.Config, log *slog.Logger, out io.Writer) error {
	if len(c.To) > 0 {
		cfg.Front.Modules = c.To
	}
	if c.Address != "" {
		cfg.HTTP.Address = c.Address
	}
	door, err := front.New(cfg, version(), log)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "The front door is open: %s/\n", door.URL())
	return door.Run(ctx)
}
