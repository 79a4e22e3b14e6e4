package kafkabridge

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"millrace/platform/bus"
	"millrace/platform/bus/relay"
	"millrace/platform/bus/store"
	"millrace/platform/errs"
)

// closeWithin is how long closing waits for brokers that do not answer.
const closeWithin = 3 * time.Second

// Database is what a bridge needs of the database side.
type Database interface {
	// Inbound stores what arrives.
	Inbound() *relay.Inbound
	// SubscribedTopics lists the topics of a module's subscriptions.
	SubscribedTopics(module string) []string
	// Node is this process's ID.
	Node() uuid.UUID
	// Expired lists other nodes whose lease has expired.
	Expired(ctx context.Context) ([]uuid.UUID, error)
	// Distrust has everything that is known of the database read again.
	Distrust()
}

// Bridge sends the hosted modules' messages to Kafka, and receives what they subscribe to. It
// is a relay.Bridge.
type Bridge struct {
	cfg       Config
	topo      *bus.Topology
	hosted    []string
	topics    []string // of all messages that the hosted modules publish, send or receive
	admin     *topicAdmin
	found     map[string]topic // at the start
	sender    *sender
	consumers []*consumer
	counters  counters

	cancel     context.CancelFunc // ends the background loops
	background sync.WaitGroup
	stopOnce   sync.Once
}

var _ relay.Bridge = (*Bridge)(nil)

// Connect connects to the brokers, creates missing topics and checks the settings of the
// others. Afterwards the bridge sends; it receives after Start. A wrong configuration, wrong
// settings of a topic, or brokers that do not answer are errors.
func Connect(ctx context.Context, cfg Config, topo *bus.Topology, hosted []string) (_ *Bridge, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	if remote := cfg.remote(); cfg.SASL != nil && cfg.TLS == nil && len(remote) > 0 {
		cfg.Logger.Warn("SASL without TLS: messages can be read and changed on their way, and the password guessed; switch TLS on", "brokers", remote)
	}
	b := &Bridge{cfg: cfg, topo: topo, hosted: hosted, topics: topicsOf(topo, hosted), cancel: func() {}}
	defer func() {
		if err != nil {
			b.Stop()
			b.Close()
		}
	}()
	if b.admin, err = newTopicAdmin(cfg); err != nil {
		return nil, err
	}
	if b.found, err = b.admin.create(ctx, b.topics); err != nil {
		return nil, err
	}
	if err := b.admin.check(b.topics, b.found); err != nil {
		return nil, err
	}
	if b.sender, err = newSender(cfg); err != nil {
		return nil, err
	}
	return b, nil
}

// topicsOf lists the topics in which the hosted modules publish or send, or to which they
// subscribe.
func topicsOf(topo *bus.Topology, hosted []string) []string {
	found := map[string]bool{}
	for _, name := range append(topo.Events(), topo.Commands()...) {
		topic := topo.TopicOf(name)
		owner, _, _ := strings.Cut(topic, ".")
		for _, module := range hosted {
			subscribed := slices.ContainsFunc(topo.SubscriptionsOf(module), func(s bus.Subscription) bool { return s.Type == name })
			if owner == module || subscribed || slices.Contains(topo.SendersOf(name), module) {
				found[topic] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// Start begins to receive. What arrives is stored once the router has subscribed.
func (b *Bridge) Start(ctx context.Context, database Database) error {
	in := database.Inbound()
	w := newWatchdog(b.admin, b.topics, in.SetTopicID, database.Distrust)
	if err := w.compareTopicIDs(ctx, b.found); err != nil {
		return err
	}
	f := &failover{admin: b.admin, log: b.cfg.Logger, expired: database.Expired}
	for _, module := range b.hosted {
		topics := database.SubscribedTopics(module)
		if len(topics) == 0 {
			continue
		}
		c := newConsumer(b.admin, database.Node(), module, topics, b.topo, in, &b.counters)
		b.consumers = append(b.consumers, c)
		f.groups = append(f.groups, c.group())
		c.start()
	}
	w.consumers = b.consumers
	running, cancel := context.WithCancel(context.Background())
	b.cancel = cancel
	b.background.Go(func() { w.run(running) })
	b.background.Go(func() { f.run(running) })
	return nil
}

// Name is the bridge's name in the registry of topics.
func (b *Bridge) Name() string { return "kafka" }

// Forward sends rows of one partition. See relay.Bridge.
func (b *Bridge) Forward(ctx context.Context, rows []store.Row) (confirmed int, err error) {
	return b.sender.Forward(ctx, rows)
}

// Flowing is nil while messages flow between this process and the brokers. Else the error
// lists what does not, and has a method Since, which is the earliest. Requests are served
// meanwhile, and their messages wait in the database.
func (b *Bridge) Flowing() error {
	all := b.sender.failures(b.cfg.Stall)
	for _, c := range b.consumers {
		all = append(all, c.health.failures(c.module, b.cfg.Stall)...)
	}
	return joined(all)
}

// Counts returns the totals since the start of this process.
func (b *Bridge) Counts() Counts {
	counts := b.counters.counts()
	counts.Sent = b.sender.sent.Load()
	return counts
}

// Drain stops receiving: the consumers leave their groups, at most until ctx ends.
func (b *Bridge) Drain(ctx context.Context) error {
	b.cancel()
	var all sync.WaitGroup
	failed := make([]error, len(b.consumers)+1)
	for i, c := range b.consumers {
		all.Go(func() { failed[i] = c.stop(ctx) })
	}
	all.Go(func() {
		failed[len(b.consumers)] = within(ctx, "the brokers do not answer", b.background.Wait)
	})
	all.Wait()
	return errors.Join(failed...)
}

// Stop stops receiving and sending, in a few seconds also if the brokers do not answer. Calls
// of Forward return. What was not acknowledged is sent again by the next owner of its
// partition.
func (b *Bridge) Stop() {
	b.stopOnce.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), closeWithin)
		defer cancel()
		if err := b.Drain(ctx); err != nil {
			b.cfg.Logger.Warn("consumers not stopped in time: broker unavailable", "kind", errs.KindOf(err).String(), "error", err.Error())
		}
		if b.sender != nil {
			b.sender.close(closeWithin)
		}
	})
}

// Close closes the connections to the brokers. Call Stop before.
func (b *Bridge) Close() {
	if b.admin != nil {
		b.admin.close()
	}
}
