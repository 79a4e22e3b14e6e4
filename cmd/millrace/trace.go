package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"millrace/config"
	"millrace/platform/bus"
	"millrace/platform/bus/trace"
	"millrace/platform/errs"
)

type traceCmd struct {
	Key string `arg:"" help:"An order key or a consultation id: goods-17, deposit-5600001, 5600001."`
}

// Run tells the conversation of a key: what was said, and what became of it, in
// all databases of the product.
func (c *traceCmd) Run(ctx context.Context, cfg config.Config, log *slog.Logger, out io.Writer) error {
	return look(ctx, cfg, log, func(topo *bus.Topology, found places) error {
		said, failure := converse(ctx, topo, c.Key, found)
		if len(said) == 0 && failure != nil {
			return failure
		}
		if len(said) == 0 {
			return errs.New(errs.NotFound, "no message speaks of %q: a key is an order's key or a consultation's id, as the message carries it", c.Key)
		}
		tell := newTeller(said)
		for _, s := range said {
			tell.message(out, s)
		}
		return failure
	})
}

// converse asks all databases. Those that cannot answer are the error, which
// names them, and the others are asked without them.
func converse(ctx context.Context, topo *bus.Topology, key string, found places) ([]trace.Said, error) {
	said, err := trace.Conversation(ctx, topo, key, found.dbs()...)
	if err == nil || len(found) == 1 {
		return said, found[0].failed(err)
	}
	var failures []error
	var answering places
	for _, p := range found {
		if _, err := trace.Conversation(ctx, topo, key, p.db); err != nil {
			failures = append(failures, p.failed(err))
			continue
		}
		answering = append(answering, p)
	}
	switch len(answering) {
	case 0:
		return nil, errors.Join(failures...)
	case len(found): // it was a passing fault
		failures = nil
	}
	said, err = trace.Conversation(ctx, topo, key, answering.dbs()...)
	return said, errors.Join(append(failures, understood(err))...)
}

// teller prints a conversation with times that count from its first message.
type teller struct {
	start time.Time
	names map[string]string // message id → "type at time", for causes
}

func newTeller(said []trace.Said) *teller {
	t := &teller{start: said[0].At, names: map[string]string{}}
	for _, s := range said {
		t.names[s.ID.String()] = s.Type + " " + t.since(s.At)
	}
	return t
}

func (t *teller) since(at time.Time) string {
	return fmt.Sprintf("+%.1f ms", float64(at.Sub(t.start).Microseconds())/1000)
}

func (t *teller) message(out io.Writer, s trace.Said) {
	fmt.Fprintf(out, "%s  %-12s %-28s %s  (%s %d/%d, %s)\n", s.At.Local().Format("15:04:05.000"), t.since(s.At), s.Type, s.Key, s.Topic, s.Partition, s.Sequence, s.ID)
	from := "said by " + s.By
	if cause := t.names[s.Cause]; cause != "" {
		from += ", because of " + cause
	}
	fmt.Fprintf(out, "    %s\n", from)
	for i, h := range s.Hops {
		branch := "├─"
		if i == len(s.Hops)-1 {
			branch = "└─"
		}
		fmt.Fprintf(out, "    %s %-12s %-12s %-9s %s\n", branch, t.since(h.At), h.Subscriber, h.Outcome, h.Source)
		if h.Error != "" && h.Outcome != "handled" {
			fmt.Fprintf(out, "       %s\n", oneLine(h.Error, 160))
		}
	}
	if len(s.Hops) == 0 {
		fmt.Fprintln(out, "    └─ nobody has handled it yet, or nobody hears it")
	}
}
