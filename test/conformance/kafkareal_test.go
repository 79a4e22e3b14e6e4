//go:build kafka

package conformance_test

import (
	"strings"
	"testing"

	"millrace/test/broker"
	"millrace/test/conformance"
)

// TestBus_OverApacheKafka runs the suite over a real broker.
func TestBus_OverApacheKafka(t *testing.T) {
	cluster := broker.Start(t, broker.Options{Properties: map[string]string{"group.min.session.timeout.ms": "1000"}})
	t.Setenv(brokersVariable, strings.Join(cluster.Brokers(), ","))
	conformance.Run(t, overKafka)
}
