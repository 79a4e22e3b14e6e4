package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"millrace/cmd/millrace/terminal"
	"millrace/config"
	"millrace/modules/payment/attention"
	"millrace/platform/bus"
	"millrace/platform/errs"
)

type paymentsCmd struct {
	List        paymentsListCmd        `cmd:"" default:"withargs" help:"List the payments that need a person: --needs-attention."`
	Acknowledge paymentsAcknowledgeCmd `cmd:"" help:"Record that a person has looked at a listed payment, and nothing is left to do. It moves no money."`
}

// paymentModule is the module whose schema the commands read.
const paymentModule = "payment"

type paymentsListCmd struct {
	NeedsAttention bool   `help:"List the payments that need a person, oldest first: since when, why, and what to do next. Amounts are in minor units."`
	Reason         string `placeholder:"REASON" enum:",late_success,duplicate_charge,provider_refund,partial_cancel,contradiction,unknown_status,unknown_result,refund_refused" default:"" help:"Only items of one reason, such as late_success or duplicate_charge."`
	After          int64  `type:"number" min:"0" max:"9223372036854775807" placeholder:"ID" help:"Begin after this item, which the end of an earlier list names."`
	Limit          int    `type:"number" min:"1" max:"10000" default:"100" placeholder:"N" help:"List at most N items, 1 to 10000; the default is 100."`
	JSON           bool   `name:"json" help:"Print one JSON object instead: items, and how many more there are."`
}

// Run lists the payments that need a person. It may run while the program serves,
// and changes nothing. If one database cannot be read, it still lists those of the
// others.
func (c *paymentsListCmd) Run(ctx context.Context, cfg config.Config, log *slog.Logger, out *output) error {
	if !c.NeedsAttention {
		return errs.InvalidField("payments", "needs a filter: millrace payments --needs-attention")
	}
	return look(ctx, cfg, log, func(_ *bus.Topology, found places) error {
		with := found.with(paymentModule)
		if len(with) == 0 {
			return errs.New(errs.NotFound, "no database here has the module payment, or its tables are not visible to this user: name its database in database.parts")
		}
		l := attentionList{}
		for _, p := range with {
			items, more, err := attention.List(ctx, p.db, paymentModule, attention.Filter{Reason: attention.Reason(c.Reason), After: c.After, Limit: c.Limit})
			if err != nil {
				l.failures = append(l.failures, p.failed(err))
				continue
			}
			l.read++
			l.More += more
			for _, i := range items {
				l.Items = append(l.Items, placedItem{i, found.where(paymentModule, p)})
			}
		}
		if c.JSON {
			return errors.Join(append(l.failures, l.printJSON(out.Printer))...)
		}
		l.print(out.Printer)
		return errors.Join(l.failures...)
	})
}

// attentionList is what `millrace payments --needs-attention` prints.
type attentionList struct {
	Items    []placedItem `json:"items"`
	More     int          `json:"more"` // items after the last one
	read     int          // databases
	failures []error
}

type placedItem struct {
	attention.Item
	Database string `json:"database,omitempty"` // set if the module is in several databases
}

func (l *attentionList) printJSON(out *terminal.Printer) error {
	if l.read == 0 {
		return nil // the failures are reported instead
	}
	if l.Items == nil {
		l.Items = []placedItem{}
	}
	return out.JSON(l, "  ")
}

func (l *attentionList) print(out *terminal.Printer) {
	switch {
	case l.read == 0:
		return // the failures are reported instead
	case len(l.Items) == 0:
		out.Printf("No payment needs attention.\n")
		return
	}
	rows := make([][]string, 0, len(l.Items))
	steps := map[attention.Reason]string{}
	for _, i := range l.Items {
		rows = append(rows, []string{
			fmt.Sprint(i.ID), string(i.Reason), moment(i.Since), i.OrderKey, i.PaymentID.String(), i.Status,
			fmt.Sprintf("%d %s", i.Amount, i.Currency), fmt.Sprint(i.Captured), fmt.Sprint(i.Refunded), oneLine(i.Detail, 100), i.Database,
		})
		steps[i.Reason] = i.NextStep
	}
	table(out, []string{"ID", "REASON", "SINCE", "ORDER", "PAYMENT", "STATUS", "AMOUNT", "CAPTURED", "REFUNDED", "DETAIL", "DATABASE"}, rows)
	out.Printf("\nAmounts are in minor units. What to do next:\n")
	for _, reason := range attention.Reasons {
		if step, listed := steps[reason]; listed {
			out.Printf("  %s: %s\n", reason, step)
		}
	}
	out.Printf("\nTo acknowledge: millrace payments acknowledge ID --reason …\n")
	if l.More > 0 {
		out.Printf("There are %d more: millrace payments --needs-attention --after %d\n", l.More, l.Items[len(l.Items)-1].ID)
	}
}

type paymentsAcknowledgeCmd struct {
	ID string `arg:"" name:"id" help:"ID of an item, or of a payment for all of its items."`
	decision
}

// Run acknowledges an item. It may run while the program serves.
func (c *paymentsAcknowledgeCmd) Run(ctx context.Context, cfg config.Config, log *slog.Logger, out *output) error {
	return look(ctx, cfg, log, func(_ *bus.Topology, found places) error {
		p, err := found.of(paymentModule)
		if err != nil {
			return err
		}
		n, err := attention.Acknowledge(ctx, p.db, paymentModule, c.ID, c.by(), c.Reason)
		if err != nil {
			return p.failed(err)
		}
		what := "items"
		if n == 1 {
			what = "item"
		}
		out.Printf("%s: %d %s acknowledged.\n", c.ID, n, what)
		return nil
	})
}
