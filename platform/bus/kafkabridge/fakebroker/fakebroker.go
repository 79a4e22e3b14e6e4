// Package fakebroker is a Kafka broker inside this process, for tests and for demonstrations
// without a set-up. It implements Kafka's protocol on loopback, with groups, rebalances,
// idempotent producers and topic IDs, and it can inject faults. It keeps its records in memory
// only: it shows what clients do, and proves nothing about durability.
package fakebroker

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kfake"
)

// Broker is a running broker.
type Broker struct {
	// Cluster injects faults.
	*kfake.Cluster
}

// Start starts a broker. It creates no topic by itself.
func Start(options ...kfake.Opt) (*Broker, error) {
	cluster, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.DefaultNumPartitions(8)}, options...)...)
	if err != nil {
		return nil, fmt.Errorf("start the fake broker: %w", err)
	}
	return &Broker{cluster}, nil
}

// Addresses are the addresses for a client's configuration.
func (b *Broker) Addresses() []string { return b.ListenAddrs() }
