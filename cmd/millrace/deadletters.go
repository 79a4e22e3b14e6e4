package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"text/tabwriter"

	"millrace/config"
	"millrace/platform/bus"
	"millrace/platform/bus/deadletter"
	"millrace/platform/dispatch"
)

type deadlettersCmd struct {
	List    deadlettersListCmd    `cmd:"" default:"1" help:"List the messages that failed for good, what waits behind them, and the calls to the outside that failed for good."`
	Retry   deadlettersRetryCmd   `cmd:"" help:"Hand dead letters back to their subscribers, and failed calls to their modules, to be tried anew."`
	Discard deadlettersDiscardCmd `cmd:"" help:"Dismiss a dead letter for good: it takes no effect, and what waits behind it goes on."`
}

type deadlettersListCmd struct{}

// Run lists. It may run while the program serves, and changes nothing.
func (*deadlettersListCmd) Run(ctx context.Context, cfg config.Config, log *slog.Logger, out io.Writer) error {
	return look(ctx, cfg, log, func(_ *bus.Topology, found places) error {
		var letters []deadletter.Letter
		var calls []dispatch.FailedCall
		for _, p := range found {
			here, err := deadletter.List(ctx, p.db, p.here)
			if err != nil {
				return err
			}
			failed, err := dispatch.Failed(ctx, p.db, p.here)
			if err != nil {
				return err
			}
			letters, calls = append(letters, here...), append(calls, failed...)
		}
		slices.SortStableFunc(letters, func(a, b deadletter.Letter) int { return a.FailedAt.Compare(b.FailedAt) })
		slices.SortStableFunc(calls, func(a, b dispatch.FailedCall) int { return a.FailedAt.Compare(b.FailedAt) })
		if len(letters) == 0 {
			fmt.Fprintln(out, "There are no dead letters.")
			return listCalls(out, calls)
		}
		table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "ID\tMESSAGE\tKEY\tATTEMPTS\tFAILED\tBEHIND IT\tKIND\tERROR")
		for _, l := range letters {
			fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%s\t%d\t%s\t%s\n", l.ID, l.Type, l.Key, l.Attempts,
				l.FailedAt.Local().Format("2006-01-02 15:04:05"), l.Behind, l.Kind, oneLine(l.Error, 120))
		}
		if err := errors.Join(table.Flush(), listCalls(out, calls)); err != nil {
			return err
		}
		fmt.Fprintln(out, "\nMend the cause, then: millrace deadletters retry ID")
		return nil
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
			p := found.of(id)
			by, err := retryOne(ctx, p.db, p.here, id)
			if err != nil {
				failures = append(failures, err)
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
