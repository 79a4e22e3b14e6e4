package main

import (
	"context"
	"log/slog"
	"os/user"

	"millrace/config"
	"millrace/platform/bus"
	"millrace/platform/bus/deadletter"
)

// decision records why a message is discarded, and who decided.
type decision struct {
	Reason string `required:"" help:"Why; it is kept with the decision."`
	By     string `help:"Who decides; the default is your name on this machine."`
}

func (d *decision) by() string {
	if d.By != "" {
		return d.By
	}
	me, err := user.Current()
	if err != nil {
		return "" // an empty name is refused: --by must be given
	}
	return me.Username
}

type deadlettersDiscardCmd struct {
	ID string `arg:"" name:"id" help:"ID of the list: delivery/17."`
	decision
}

// Run discards a parked message for good: it never takes effect.
func (c *deadlettersDiscardCmd) Run(ctx context.Context, cfg config.Config, log *slog.Logger, out *output) error {
	return look(ctx, cfg, log, func(_ *bus.Topology, found places) error {
		p, err := found.of(c.ID)
		if err != nil {
			return err
		}
		if err := deadletter.Discard(ctx, p.db, p.here, c.ID, c.by(), c.Reason); err != nil {
			return p.failed(err)
		}
		out.Printf("%s takes no effect; what waited behind it goes on.\n", c.ID)
		return nil
	})
}

type deadlettersForgetCmd struct {
	Module string `arg:"" help:"The subscriber: delivery."`
	Type   string `arg:"" help:"The message type: payment.completed."`
	decision
}

// Run records that no version of the module will handle the type again, and
// discards the messages that wait for such a version.
func (c *deadlettersForgetCmd) Run(ctx context.Context, cfg config.Config, log *slog.Logger, out *output) error {
	return look(ctx, cfg, log, func(_ *bus.Topology, found places) error {
		p, err := found.of(c.Module)
		if err != nil {
			return err
		}
		done, err := deadletter.Forget(ctx, p.db, p.here, c.Module, c.Type, c.by(), c.Reason)
		if err != nil {
			return p.failed(err)
		}
		out.Printf("No version of %s subscribes to %s any more. Messages that waited for one and are now discarded: %d.\n", c.Module, c.Type, done.Discarded)
		if done.Left > 0 {
			out.Printf("Dead letters of that type, and messages of it behind others of their keys, are left: %d. See: millrace deadletters\n", done.Left)
		}
		return nil
	})
}
