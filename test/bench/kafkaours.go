package main

import (
	"context"
	"errors"
	"log/slog"

	"millrace/platform/bus"
	"millrace/platform/bus/kafkabridge"
	"millrace/platform/bus/sqltransport"
	"millrace/platform/bus/store"
)

// oursKafka is ours with the other road: the same modules and handlers, their
// messages through the brokers.
type oursKafka struct {
	*ours
	kafka *kafka
	cfg   kafkabridge.Config
}

func openOursKafka(k *kafka) func(context.Context, string) (contender, error) {
	return func(ctx context.Context, url string) (contender, error) {
		o := &oursKafka{kafka: k, cfg: kafkabridge.Config{
			Brokers: k.brokers, Prefix: prefixOf(url), Partitions: kafkaPartitions, Logger: slog.New(slog.DiscardHandler)}}
		o.ours = &ours{url: url, road: o.road(url)}
		return o, o.open(ctx, parkedRoad(url))
	}
}

func (o *oursKafka) road(url string) road {
	return func(ctx context.Context, pool int, topo *bus.Topology, hosted []string) (transport, error) {
		return kafkabridge.Open(ctx, o.cfg, databaseConfig(url, pool), topo, hosted)
	}
}

func (o *oursKafka) topic() string { return o.cfg.Prefix + bus.EventsOf("payment") }

// relay begins to send what was published, and nothing else.
func (o *oursKafka) relay(ctx context.Context) (sent func() int64, stop func() error, err error) {
	if err := o.before.Close(); err != nil {
		return nil, nil, err
	}
	o.before = nil
	t, err := kafkabridge.Open(ctx, o.cfg, databaseConfig(o.url, poolSize), o.topo, []string{"payment"})
	if err != nil {
		return nil, nil, err
	}
	return func() int64 { return t.Counts().Sent }, func() error { return errors.Join(t.Drain(context.WithoutCancel(ctx)), t.Close()) }, nil
}

func (o *oursKafka) close() error { return errors.Join(o.ours.close(), o.kafka.remove(o.topic())) }

// parked is a bridge that takes nothing: what is published waits.
type parked struct{ ended chan struct{} }

func (parked) Name() string { return "kafka" }

func (p parked) Forward(ctx context.Context, _ []store.Row) (int, error) {
	select {
	case <-p.ended:
		return 0, errors.New("parked")
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// parkedTransport lets its relays go before it closes.
type parkedTransport struct {
	transport
	bridge parked
}

func (t parkedTransport) Close() error {
	close(t.bridge.ended)
	return t.transport.Close()
}

func parkedRoad(url string) road {
	return func(ctx context.Context, pool int, topo *bus.Topology, hosted []string) (transport, error) {
		bridge := parked{make(chan struct{})}
		cfg := databaseConfig(url, pool)
		cfg.Bridge = bridge
		t, err := sqltransport.Open(ctx, cfg, topo, hosted)
		if err != nil {
			return nil, err
		}
		return parkedTransport{t, bridge}, nil
	}
}
