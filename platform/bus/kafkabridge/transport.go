package kafkabridge

import (
	"context"
	"errors"

	"github.com/ThreeDotsLabs/watermill/message"

	"millrace/platform/bus"
	"millrace/platform/bus/sqltransport"
)

// Transport is a sqltransport.Transport whose messages travel between databases through a
// Bridge.
type Transport struct {
	database *sqltransport.Transport
	bridge   *Bridge
}

// Open connects to the brokers and to the hosted modules' databases, creates missing topics,
// and begins to send and to receive. Nothing is handled before the router has subscribed. A
// wrong configuration, wrong settings of a topic, or brokers that do not answer are errors.
func Open(ctx context.Context, cfg Config, database sqltransport.Config, topo *bus.Topology, hosted []string) (_ *Transport, err error) {
	t := &Transport{}
	defer func() {
		if err != nil {
			_ = t.Close() // the first error is the one to return
		}
	}()
	if t.bridge, err = Connect(ctx, cfg, topo, hosted); err != nil {
		return nil, err
	}
	database.Bridge = t.bridge
	if t.database, err = sqltransport.Open(ctx, database, topo, hosted); err != nil {
		return nil, err
	}
	if err := t.bridge.Start(ctx, t.database); err != nil {
		return nil, err
	}
	return t, nil
}

// DB is a hosted module's handle to its schema; nil for a module that is not hosted.
func (t *Transport) DB(module string) *bus.DB { return t.database.DB(module) }

// Subscriber is what the router subscribes to for a hosted module; nil for a module that is
// not hosted.
func (t *Transport) Subscriber(module string) message.Subscriber {
	return t.database.Subscriber(module)
}

// Healthy is nil while this process may handle messages; see sqltransport.
func (t *Transport) Healthy() error { return t.database.Healthy() }

// Paused is nil while no subscription and no relay is paused; see sqltransport.
func (t *Transport) Paused() error { return t.database.Paused() }

// Flowing is nil while messages flow between this process and the brokers; see Bridge.
func (t *Transport) Flowing() error { return t.bridge.Flowing() }

// Counts returns the bridge's totals since the start of this process.
func (t *Transport) Counts() Counts { return t.bridge.Counts() }

// Drain takes no new record and no new message, and waits for those in flight, at most until
// ctx ends.
func (t *Transport) Drain(ctx context.Context) error {
	return errors.Join(t.bridge.Drain(ctx), t.database.Drain(ctx))
}

// Close ends everything, in a few seconds also if the brokers do not answer.
func (t *Transport) Close() error {
	if t.bridge == nil {
		return nil
	}
	t.bridge.Stop() // before the relays end: they wait for the producer
	defer t.bridge.Close()
	if t.database == nil {
		return nil
	}
	return t.database.Close()
}
