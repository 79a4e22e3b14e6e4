package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"millrace/cmd/millrace/terminal"
	"millrace/config"
	"millrace/platform/bus"
	"millrace/platform/bus/trace"
	"millrace/platform/errs"
)

type traceCmd struct {
	Key string `arg:"" help:"An order key or a consultation id: goods-17, deposit-5600001, 5600001."`
}

// Run prints the messages of a key from all databases: who published or sent each,
// and what each subscriber did with it.
func (c *traceCmd) Run(ctx context.Context, cfg config.Config, log *slog.Logger, out *output) error {
	return look(ctx, cfg, log, func(topo *bus.Topology, found places) error {
		messages, failure := messagesOf(ctx, topo, c.Key, found)
		if len(messages) == 0 && failure != nil {
			return failure
		}
		if len(messages) == 0 {
			return errs.New(errs.NotFound, "no message speaks of %q: a key is an order's key or a consultation's id, as the message carries it", c.Key)
		}
		times := newTimeline(messages)
		for _, s := range messages {
			times.message(out.Printer, s)
		}
		return failure
	})
}

// messagesOf reads the messages of a key from all databases. If some databases fail,
// it returns the messages of the others, and an error that names the failed ones.
func messagesOf(ctx context.Context, topo *bus.Topology, key string, found places) ([]trace.Message, error) {
	messages, err := trace.Conversation(ctx, topo, key, found.dbs()...)
	if err == nil || len(found) == 1 {
		return messages, found[0].failed(err)
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
	case len(found): // no database failed again
		failures = nil
	}
	messages, err = trace.Conversation(ctx, topo, key, answering.dbs()...)
	return messages, errors.Join(append(failures, understood(err))...)
}

// timeline prints messages with times relative to the first message.
type timeline struct {
	start time.Time
	names map[string]string // message id → "type at time", to print causes
}

func newTimeline(messages []trace.Message) *timeline {
	t := &timeline{start: messages[0].At, names: map[string]string{}}
	for _, s := range messages {
		t.names[s.ID.String()] = s.Type + " " + t.since(s.At)
	}
	return t
}

// outcome is a hop's outcome, with the number of attempts if any failed.
func outcome(h trace.Hop) string {
	switch h.Attempts {
	case 0:
		return h.Outcome
	case 1:
		return h.Outcome + " after 1 attempt"
	}
	return fmt.Sprintf("%s after %d attempts", h.Outcome, h.Attempts)
}

func (t *timeline) since(at time.Time) string {
	if at.IsZero() || t.start.IsZero() {
		return "+?"
	}
	return fmt.Sprintf("+%.1f ms", float64(at.Sub(t.start).Microseconds())/1000)
}

func (t *timeline) message(out *terminal.Printer, s trace.Message) {
	clock := "without time"
	if !s.At.IsZero() {
		clock = s.At.Local().Format("2006-01-02 15:04:05.000 MST")
	}
	out.Printf("%s  %-12s %-28s %s  (%s %d/%d, %s)\n", clock, t.since(s.At), s.Type, s.Key, s.Topic, s.Partition, s.Sequence, s.ID)
	from := s.Verb() + " by " + cmp.Or(s.By, "an unknown module")
	if cause := t.names[s.Cause]; cause != "" {
		from += ", because of " + cause
	}
	out.Printf("    %s\n", from)
	for i, h := range s.Hops {
		branch := "├─"
		if i == len(s.Hops)-1 {
			branch = "└─"
		}
		out.Printf("    %s %-12s %-12s %-9s %s\n", branch, t.since(h.At), h.Subscriber, outcome(h), h.Source)
		if h.Error != "" && h.Outcome != "handled" {
			out.Printf("       %s\n", oneLine(h.Error, 160))
		}
	}
	if len(s.Hops) == 0 {
		out.Printf("    └─ not handled yet, or without a subscriber\n")
	}
}
