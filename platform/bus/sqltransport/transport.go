package sqltransport

import (
	"context"
	"fmt"
	"sync"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"

	"millrace/platform/bus"
	"millrace/platform/bus/cluster"
	"millrace/platform/bus/relay"
	"millrace/platform/bus/store"
	"millrace/platform/bus/work"
	"millrace/platform/errs"
)

// Transport carries the messages of the modules that this process hosts.
type Transport struct {
	cfg      Config
	streams  streams
	node     uuid.UUID
	pools    *pools
	sources  *sources
	lease    *cluster.Lease
	notifier *cluster.Notifier
	log      *log
	hosts    hosts // by module
	inbound  *relay.Inbound

	cancel     context.CancelFunc
	background sync.WaitGroup
	once       sync.Once
}

// Open connects the hosted modules. Nothing is handled before the router has subscribed. The
// schema must have been migrated. It refuses a database in whose registry a topic travels by
// another transport.
func Open(ctx context.Context, cfg Config, topo *bus.Topology, hosted []string) (_ *Transport, err error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	node, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("process id: %w", err)
	}
	running, cancel := context.WithCancel(context.Background())
	t := &Transport{
		cfg: cfg, streams: streams{topo, cfg.Bridge != nil}, node: node, cancel: cancel,
		hosts: hosts{},
	}
	defer func() {
		if err != nil {
			_ = t.Close() // the first error is the one to return
		}
	}()
	if t.pools, err = openPools(ctx, cfg.URL); err != nil {
		return nil, err
	}
	t.sources = &sources{t.streams, t.pools.bus, work.Readers{}}
	registry := &store.Registry{Topics: store.Topics(topo), Transport: store.OnPostgres}
	if cfg.Bridge != nil {
		registry.Transport = cfg.Bridge.Name()
	}
	t.join(registry)
	start := startup{cfg.Logger}
	if err := start.retry(ctx, "registering topics", func(ctx context.Context) error { return registry.Register(ctx, t.pools.bus) }); err != nil {
		return nil, err
	}
	for _, module := range hosted {
		if err := t.pools.openModule(ctx, cfg, module, node); err != nil {
			return nil, err
		}
		t.host(module, start)
	}
	if err := t.listen(ctx, running); err != nil {
		return nil, err
	}
	if err := t.notifier.Hello(ctx); err != nil {
		return nil, err
	}
	if err := start.retry(ctx, "renewing the lease", t.lease.Renew); err != nil {
		return nil, err
	}
	for _, h := range t.hosts {
		if h.relay != nil { // no router subscribes to it
			if err := h.relay.Start(ctx); err != nil {
				return nil, err
			}
		}
	}
	for _, loop := range []func(context.Context){t.notifier.Run, t.lease.Run, t.maintain} {
		t.background.Go(func() { loop(running) })
	}
	return t, nil
}

// DB is a hosted module's handle to its schema; nil for a module that is not hosted.
func (t *Transport) DB(module string) *bus.DB {
	if t.hosts[module] == nil {
		return nil
	}
	return bus.NewDB(t.pools.modules[module], module, t.streams.topo, t.log).WithReserved(t.pools.calls)
}

// Subscriber is what the router subscribes to for a hosted module; nil for a module that is
// not hosted.
func (t *Transport) Subscriber(module string) message.Subscriber {
	if h := t.hosts[module]; h != nil {
		return h.subscriber
	}
	return nil
}

// Inbound is where a bridge stores what it received for the hosted modules.
func (t *Transport) Inbound() *relay.Inbound { return t.inbound }

// SubscribedTopics lists the topics that a bridge must receive for a module.
func (t *Transport) SubscribedTopics(module string) []string { return t.streams.topics(module) }

// Node returns the ID by which the other nodes know this process.
func (t *Transport) Node() uuid.UUID { return t.node }

// Expired lists the other nodes whose lease has expired in the last minute, and that did not
// end it.
func (t *Transport) Expired(ctx context.Context) ([]uuid.UUID, error) {
	return cluster.Expired(ctx, t.pools.bus, t.node)
}

// Healthy is nil while this process's lease is valid: then it may handle messages.
func (t *Transport) Healthy() error {
	if !t.lease.Valid() {
		return errs.New(errs.Resource, "the lease could not be renewed for %s: is the database reachable?", t.cfg.LeaseTTL)
	}
	return nil
}

// Paused is nil while no subscription of this process is paused. Else it names those that
// are, and why; see work.Paused.
func (t *Transport) Paused() error {
	return work.Paused(t.hosts.groups())
}

// Distrust has everything that this process knows of the database's offsets and messages read
// again: the database has lost something, in a crash, or because it was restored or a standby
// replaces it.
func (t *Transport) Distrust() {
	for _, g := range t.hosts.groups() {
		g.Distrust()
	}
	t.lease.RenewSoon()
}
