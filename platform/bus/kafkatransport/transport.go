package kafkatransport

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"millrace/platform/bus"
	"millrace/platform/bus/sqltransport"
	"millrace/platform/errs"
)

// closeWithin is how long Close waits for brokers that do not answer.
const closeWithin = 3 * time.Second

// Transport carries the messages of the modules that this process hosts. What
// is not about Kafka is sqltransport's: databases, subscribers, Healthy.
type Transport struct {
	*sqltransport.Transport

	cfg     Config
	out     *forwarder
	admin   *topicAdmin
	intakes []*intake
	counts  counters
	topics  []string // that this process speaks or hears in

	// Of the watching goroutine.
	incarnation map[string]string
	seen        map[watched]progress
	deleted     map[place]int64

	cancel    context.CancelFunc
	watching  sync.WaitGroup
	closeOnce sync.Once
}

// Open connects the brokers and the hosted modules' databases, creates the
// topics that are missing, and begins to send and to receive. Nothing is handled
// before the router has subscribed. What is wrong with the configuration, with a
// topic's settings, or with brokers that do not answer is an error here.
func Open(ctx context.Context, cfg Config, database sqltransport.Config, topo *bus.Topology, hosted []string) (_ *Transport, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	if remote := cfg.remote(); cfg.SASL != nil && cfg.TLS == nil && len(remote) > 0 {
		cfg.Logger.Warn("SASL without TLS: messages can be read and changed on their way, and the password guessed; switch TLS on", "brokers", remote)
	}
	running, cancel := context.WithCancel(context.Background())
	t := &Transport{
		cfg: cfg, cancel: cancel, topics: topicsOf(topo, hosted),
		incarnation: map[string]string{}, seen: map[watched]progress{}, deleted: map[place]int64{},
	}
	defer func() {
		if err != nil {
			_ = t.Close() // the first error is the one to tell
		}
	}()
	if t.admin, err = newTopicAdmin(cfg); err != nil {
		return nil, err
	}
	found, err := t.admin.create(ctx, t.topics)
	if err != nil {
		return nil, err
	}
	if err := t.admin.check(t.topics, found); err != nil {
		return nil, err
	}
	if t.out, err = newForwarder(cfg); err != nil {
		return nil, err
	}
	database.Bridge = t.out
	if t.Transport, err = sqltransport.Open(ctx, database, topo, hosted); err != nil {
		return nil, err
	}
	if err := t.incarnations(ctx, found); err != nil {
		return nil, err
	}
	for _, module := range hosted {
		if heard := t.SubscribedTopics(module); len(heard) > 0 {
			cfg.member = memberOf(t.Node())
			in := newIntake(cfg, module, heard, topo, t.Inbound(), t.admin, &t.counts)
			t.intakes = append(t.intakes, in)
			in.start()
		}
	}
	t.watching.Go(func() { t.watch(running) })
	t.watching.Go(func() { t.takeOver(running) })
	return t, nil
}

// topicsOf lists the topics in which hosted modules speak or hear.
func topicsOf(topo *bus.Topology, hosted []string) []string {
	found := map[string]bool{}
	for _, name := range append(topo.Events(), topo.Commands()...) {
		topic := topo.TopicOf(name)
		owner, _, _ := strings.Cut(topic, ".")
		for _, module := range hosted {
			heard := slices.ContainsFunc(topo.SubscriptionsOf(module), func(s bus.Subscription) bool { return s.Type == name })
			if owner == module || heard || slices.Contains(topo.SendersOf(name), module) {
				found[topic] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// Flowing is nil while messages move between this process and the brokers. Else
// it says what stands still, and since when: the error has a method Since, which
// is the earliest. Requests are served meanwhile: what they say waits in the
// database.
func (t *Transport) Flowing() error {
	all := t.out.blocked(t.cfg.Stall)
	for _, in := range t.intakes {
		all = append(all, in.stands(t.cfg.Stall)...)
	}
	if len(all) == 0 {
		return nil
	}
	still := &standstill{since: all[0].since}
	why := make([]error, len(all))
	for i, one := range all {
		why[i] = one.why
		if one.since.Before(still.since) {
			still.since = one.since
		}
	}
	still.error = errors.Join(why...)
	return still
}

// standstill is what Flowing answers.
type standstill struct {
	error
	since time.Time
}

func (s *standstill) Since() time.Time { return s.since }
func (s *standstill) Unwrap() error    { return s.error }

// Counts are totals since the start of this process.
type Counts struct {
	Sent       int64 // rows that the brokers confirmed
	Received   int64 // rows that were kept, repetitions included
	Foreign    int64 // of these, records that no module of ours said
	Skipped    int64 // foreign records of a type that does not belong to their topic
	Unreadable int64 // foreign records without a type
	Restarts   int64 // subscriptions that stood still and started anew
	Reread     int64 // records that were read beside the group
	Undone     int64 // records that a restored speaker has undone, and that were dropped
	Gone       int64 // records that the brokers had no more when this database had not noted them
}

// Counts returns the totals.
func (t *Transport) Counts() Counts {
	t.out.mu.Lock()
	defer t.out.mu.Unlock()
	c := &t.counts
	return Counts{
		Sent: t.out.sent, Received: c.received.Load(), Foreign: c.foreign.Load(), Skipped: c.skipped.Load(),
		Unreadable: c.unreadable.Load(), Restarts: c.restarts.Load(), Reread: c.reread.Load(), Undone: c.undone.Load(), Gone: c.gone.Load(),
	}
}

// Drain takes no new record and no new message, and waits for what is in
// flight, at most until ctx ends.
func (t *Transport) Drain(ctx context.Context) error {
	return errors.Join(t.leave(ctx), t.Transport.Drain(ctx))
}

// leave ends the watching and the intakes.
func (t *Transport) leave(ctx context.Context) error {
	t.cancel()
	var all sync.WaitGroup
	failed := make([]error, len(t.intakes)+1)
	for i, in := range t.intakes {
		all.Go(func() { failed[i] = in.stop(ctx) })
	}
	all.Go(func() {
		failed[len(t.intakes)] = within(ctx, "the brokers do not answer", t.watching.Wait)
	})
	all.Wait()
	return errors.Join(failed...)
}

// Close ends everything, in a few seconds also when the brokers do not answer:
// what they did not confirm is sent again by whoever takes over.
func (t *Transport) Close() error {
	var err error
	t.closeOnce.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), closeWithin)
		defer cancel()
		if left := t.leave(ctx); left != nil {
			t.cfg.Logger.Warn("closing: left unfinished", "kind", errs.KindOf(left).String(), "error", left.Error())
		}
		if t.out != nil {
			t.out.close(closeWithin) // before the relays end: they wait for it
		}
		if t.Transport != nil {
			err = t.Transport.Close()
		}
		if t.admin != nil {
			t.admin.close()
		}
	})
	return err
}

// within waits for wait, but not longer than ctx.
func within(ctx context.Context, otherwise string, wait func()) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		wait()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return errs.New(errs.Timeout, "%s", otherwise)
	}
}
