package main

import (
	"context"
	"errors"
	"log/slog"

	"millrace/config"
	"millrace/platform/bus"
	"millrace/platform/errs"
)

type deadlettersCmd struct {
	List    deadlettersListCmd    `cmd:"" default:"1" help:"List dead letters, messages that await another version, how many are blocked behind each, and outbound calls that failed for good."`
	Retry   deadlettersRetryCmd   `cmd:"" help:"Retry dead letters and failed outbound calls, with all attempts."`
	Discard deadlettersDiscardCmd `cmd:"" help:"Discard a listed message: it takes no effect, and the messages blocked behind it continue."`
	Forget  deadlettersForgetCmd  `cmd:"" help:"Declare that no version of a module will handle a type any more: messages that await one take no effect, and later ones are skipped. For the owner of the tables."`
}

type deadlettersListCmd struct {
	Limit int `default:"100" help:"How many messages, and how many failed calls, are listed at most, the oldest first."`
}

// Run lists the dead letters. It may run while the program serves, and changes
// nothing. If one database cannot be read, it still lists those of the others.
func (c *deadlettersListCmd) Run(ctx context.Context, cfg config.Config, log *slog.Logger, out *output) error {
	if c.Limit < 1 {
		return errs.InvalidField("--limit", "is %d: it is at least 1", c.Limit)
	}
	return look(ctx, cfg, log, func(_ *bus.Topology, found places) error {
		l := listing{places: found, limit: c.Limit}
		for _, p := range found {
			l.add(ctx, p)
		}
		l.print(out.Printer)
		return errors.Join(l.failures...)
	})
}

type deadlettersRetryCmd struct {
	IDs []string `arg:"" name:"id" help:"IDs of the list: delivery/17, or payment/call/<uuid>."`
}

// Run retries the dead letters, each in a transaction of its own. It reports those
// that cannot be retried, and still retries the others.
func (c *deadlettersRetryCmd) Run(ctx context.Context, cfg config.Config, log *slog.Logger, out *output) error {
	return look(ctx, cfg, log, func(_ *bus.Topology, found places) error {
		var failures []error
		for _, id := range c.IDs {
			p, err := found.of(id)
			if err != nil {
				failures = append(failures, err)
				continue
			}
			by, err := retryOne(ctx, p.db, p.here, id)
			if err != nil {
				failures = append(failures, p.failed(err))
				continue
			}
			out.Printf("%s is tried again by %s, as soon as one serves.\n", id, by)
		}
		return errors.Join(failures...)
	})
}

// oneLine shortens a text to one line of at most n runes.
func oneLine(text string, n int) string {
	runes := []rune(text)
	for i, r := range runes {
		if r == '\n' || i == n {
			return string(runes[:i]) + "…"
		}
	}
	return text
}
