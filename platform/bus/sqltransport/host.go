package sqltransport

import (
	"context"
	"database/sql"
	"sync"
	"time"

	"millrace/platform/bus/cluster"
	"millrace/platform/bus/engine"
	"millrace/platform/bus/relay"
	"millrace/platform/bus/store"
	"millrace/platform/bus/work"
)

// host is what works for a hosted module. relay and receiver are nil without a bridge.
type host struct {
	subscriber *engine.Subscriber
	relay      *relay.Relay
	receiver   *relay.Receiver
}

// hosts are those of all modules.
type hosts map[string]*host

// members are what the node works for.
func (hs hosts) members() (all []cluster.Member) {
	for _, h := range hs {
		all = append(all, h.subscriber)
		if h.relay != nil {
			all = append(all, h.relay)
		}
	}
	return all
}

// groups returns the work of each subscriber and relay, by its name.
func (hs hosts) groups() map[string]*work.Group {
	all := map[string]*work.Group{}
	for module, h := range hs {
		all[module] = h.subscriber.Group
		if h.relay != nil {
			all[h.relay.Name()] = h.relay.Group
		}
	}
	return all
}

// halt takes no new messages.
func (hs hosts) halt() {
	for _, h := range hs {
		h.subscriber.Halt()
		if h.relay != nil {
			h.relay.Halt()
		}
	}
}

// stop takes no new messages and waits for those in flight.
func (hs hosts) stop() {
	var all sync.WaitGroup
	for _, h := range hs {
		all.Go(h.subscriber.Stop)
		if h.relay != nil {
			all.Go(h.relay.Stop)
		}
	}
	all.Wait()
}

// join makes this process a node, which works for nobody yet.
func (t *Transport) join(registry *store.Registry) {
	t.notifier = cluster.NewNotifier(t.pools.notify, t.node, 5*t.cfg.LeaseTTL)
	t.lease = cluster.NewLease(cluster.Config{
		Node: t.node, TTL: t.cfg.LeaseTTL, DB: t.pools.lease, Members: t.hosts.members, TopicOf: t.streams.topo.TopicOf, Logger: t.cfg.Logger,
		Check:  func(ctx context.Context, db *sql.DB) error { return registry.Check(ctx, db) },
		Others: t.notifier.SetOthers,
	})
	t.log = &log{t.streams, registry, t.lease, t.sources.readers, t.notifier}
	t.inbound = &relay.Inbound{
		DB: t.pools.bus, Topology: t.streams.topo, Lease: t.lease, Receivers: map[string]*relay.Receiver{},
		Hosts: func(module string) bool { return t.hosts[module] != nil },
	}
}

// host makes what works for a module.
func (t *Transport) host(module string, start startup) {
	h := &host{}
	db, types := t.pools.modules[module], t.streams.types(module)
	h.subscriber = engine.New(engine.Config{
		Module: module, Node: t.node, DB: db, Log: t.log, Lease: t.lease, Types: types, Readers: t.sources.subscribed(module), Bridged: t.streams.bridged,
		Workers: t.cfg.Workers, MaxWorkers: t.cfg.MaxConnsPerModule - connsForRequests,
		BatchSize: t.cfg.BatchSize, Backoff: t.cfg.Backoff, KeepCommands: t.cfg.KeepCommands, Startup: start.retry, Logger: t.cfg.Logger,
	})
	t.hosts[module] = h
	if !t.streams.bridged {
		return
	}
	h.relay = relay.New(relay.Config{
		Module: module, Node: t.node, DB: t.pools.bridge[module], Lease: t.lease, Bridge: t.cfg.Bridge, Readers: t.sources.published(module),
		Workers: t.cfg.Workers, KeepSent: t.cfg.KeepCommands, Startup: start.retry, Logger: t.cfg.Logger,
	})
	h.receiver = relay.NewReceiver(relay.ReceiverConfig{
		Module: module, DB: t.pools.bridge[module], Subscriber: h.subscriber.Group, Types: types, Readers: t.sources.readers,
		Offsets: &store.Offsets{DB: db, Subscriber: module, Node: t.node},
		Notify:  func(changes map[string]uint64) { t.notifier.Notify(changes) }, Distrust: t.Distrust,
		LostAfter: t.cfg.LostAfter, KeepHandled: t.cfg.KeepCommands, Logger: t.cfg.Logger,
	})
	t.inbound.Receivers[module] = h.receiver
}

// listen receives the notifications of other nodes until running ends. It returns when it
// does.
func (t *Transport) listen(ctx, running context.Context) error {
	listener := &cluster.Listener{
		URL: t.pools.url, Node: t.node, Logger: t.cfg.Logger,
		Joined: func() {
			t.notifier.SawOther()
			t.lease.RenewSoon()
		},
		Changed: func(changes cluster.Changes) {
			t.notifier.SawOther()
			t.sources.readers.Changed(changes)
		},
		Parked: func(subscriber, stream string, partition int) {
			if h := t.hosts[subscriber]; h != nil {
				h.subscriber.CheckParked(stream, partition)
			}
		},
		Missed: t.sources.readers.ChangedAll,
	}
	ready := make(chan error, 1)
	t.background.Go(func() { listener.Run(running, ready) })
	select {
	case err := <-ready:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// maintain polls, in case a notification was lost, and prunes, until ctx ends.
func (t *Transport) maintain(ctx context.Context) {
	tick := time.NewTicker(t.cfg.Poll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		t.sources.readers.Poll(ctx, t.cfg.Logger)
		for _, h := range t.hosts {
			h.subscriber.Maintain(ctx)
			if h.receiver != nil {
				h.receiver.Maintain(ctx)
				h.relay.Maintain(ctx)
			}
		}
	}
}
