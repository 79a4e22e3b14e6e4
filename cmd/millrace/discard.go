package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os/user"

	"millrace/config"
	"millrace/platform/bus"
	"millrace/platform/bus/deadletter"
)

type deadlettersDiscardCmd struct {
	ID     string `arg:"" name:"id" help:"As the list shows it: delivery/17."`
	Reason string `required:"" help:"Why it may take no effect; it is kept."`
	By     string `help:"Who decides; the default is your name on this machine."`
}

// Run dismisses a dead letter for good.
func (c *deadlettersDiscardCmd) Run(ctx context.Context, cfg config.Config, log *slog.Logger, out io.Writer) error {
	if c.By == "" {
		if me, err := user.Current(); err == nil {
			c.By = me.Username
		}
	}
	return look(ctx, cfg, log, func(_ *bus.Topology, found places) error {
		p := found.of(c.ID)
		if err := deadletter.Discard(ctx, p.db, p.here, c.ID, c.By, c.Reason); err != nil {
			return err
		}
		fmt.Fprintf(out, "%s takes no effect; what waited behind it goes on.\n", c.ID)
		return nil
	})
}
