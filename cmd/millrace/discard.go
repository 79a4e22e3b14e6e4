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

// decision is why a message takes no effect, and who says so.
type decision struct {
	Reason string `required:"" help:"Why it may take no effect; it is kept."`
	By     string `help:"Who decides; the default is your name on this machine."`
}

func (d *decision) by() string {
	if d.By != "" {
		return d.By
	}
	me, err := user.Current()
	if err != nil {
		return "" // which is refused: it must be given
	}
	return me.Username
}

type deadlettersDiscardCmd struct {
	ID string `arg:"" name:"id" help:"As the list shows it: delivery/17."`
	decision
}

// Run dismisses a message that the list shows for good.
func (c *deadlettersDiscardCmd) Run(ctx context.Context, cfg config.Config, log *slog.Logger, out io.Writer) error {
	return look(ctx, cfg, log, func(_ *bus.Topology, found places) error {
		p, err := found.of(c.ID)
		if err != nil {
			return err
		}
		if err := deadletter.Discard(ctx, p.db, p.here, c.ID, c.by(), c.Reason); err != nil {
			return p.failed(err)
		}
		fmt.Fprintf(out, "%s takes no effect; what waited behind it goes on.\n", c.ID)
		return nil
	})
}

type deadlettersForgetCmd struct {
	Module string `arg:"" help:"Whose subscription it was: delivery."`
	Type   string `arg:"" help:"What it heard: payment.completed."`
	decision
}

// Run says that no version of the module will hear the type any more.
func (c *deadlettersForgetCmd) Run(ctx context.Context, cfg config.Config, log *slog.Logger, out io.Writer) error {
	return look(ctx, cfg, log, func(_ *bus.Topology, found places) error {
		p, err := found.of(c.Module)
		if err != nil {
			return err
		}
		done, err := deadletter.Forget(ctx, p.db, p.here, c.Module, c.Type, c.by(), c.Reason)
		if err != nil {
			return p.failed(err)
		}
		fmt.Fprintf(out, "No version of %s hears %s any more. Messages that were held for one, and take no effect: %d.\n", c.Module, c.Type, done.Discarded)
		if done.Left > 0 {
			fmt.Fprintf(out, "Dead letters of that type, and messages of it behind others of their keys, are left: %d. See: millrace deadletters\n", done.Left)
		}
		return nil
	})
}
