package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"millrace/config"
	"millrace/platform/bus"
)

type deadlettersCmd struct {
	List    deadlettersListCmd    `cmd:"" default:"1" help:"List the messages that failed for good, those that no serving version knows, what waits behind them, and the calls to the outside that failed for good."`
	Retry   deadlettersRetryCmd   `cmd:"" help:"Hand dead letters back to their subscribers, and failed calls to their modules, to be tried anew."`
	Discard deadlettersDiscardCmd `cmd:"" help:"Dismiss a message of the list for good: it takes no effect, and what waits behind it goes on."`
	Forget  deadlettersForgetCmd  `cmd:"" help:"No version of a module will hear a type any more: what is held for one takes no effect, and later ones are skipped. For the owner of the tables."`
}

type deadlettersListCmd struct{}

// Run lists. It may run while the program serves, and changes nothing. What
// cannot be read in one database hides nothing of the others.
func (*deadlettersListCmd) Run(ctx context.Context, cfg config.Config, log *slog.Logger, out io.Writer) error {
	return look(ctx, cfg, log, func(_ *bus.Topology, found places) error {
		l := listing{places: found}
		for _, p := range found {
			l.add(ctx, p)
		}
		return errors.Join(append(l.failures, l.print(out))...)
	})
}

type deadlettersRetryCmd struct {
	IDs []string `arg:"" name:"id" help:"As the list shows them: delivery/17, or payment/call/<uuid>."`
}

// Run hands the letters back, each in a transaction of its own. Those that
// cannot be are told, and the others are handed back all the same.
func (c *deadlettersRetryCmd) Run(ctx context.Context, cfg config.Config, log *slog.Logger, out io.Writer) error {
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
			fmt.Fprintf(out, "%s is tried again by %s, as soon as one serves.\n", id, by)
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
