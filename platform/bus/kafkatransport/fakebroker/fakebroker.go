// Package fakebroker is a Kafka broker inside this process, for tests and for
// demonstrations without a set-up. It speaks Kafka's protocol on loopback, with
// groups, rebalances, idempotent producers and topic ids, and can be told to
// fail; it keeps its records in memory only, so it shows what clients do and
// proves nothing about durability.
package fakebroker

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kfake"
)

// Broker is a running one.
type Broker struct {
	// Cluster is the broker behind it: faults are injected there.
	*kfake.Cluster
}

// Start starts one. It creates no topic that nobody asked for.
func Start(options ...kfake.Opt) (*Broker, error) {
	cluster, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.DefaultNumPartitions(8)}, options...)...)
	if err != nil {
		return nil, fmt.Errorf("start the fake broker: %w", err)
	}
	return &Broker{cluster}, nil
}

// Addresses are what a client is configured with.
func (b *Broker) Addresses() []string { return b.ListenAddrs() }
