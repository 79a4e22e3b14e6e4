//go:build kafka

package conformance_test

import (
	"strings"
	"testing"

	"millrace/test/broker"
	"millrace/test/conformance"
)

// TestMessagesThroughApacheKafka runs the suite over a real broker.
func TestMessagesThroughApacheKafka(t *testing.T) {
	cluster := broker.Start(t, broker.Options{Properties: map[string]string{"group.min.session.timeout.ms": "1000"}})
	t.Setenv(brokersVariable, strings.Join(cluster.Brokers(), ","))
	conformance.Run(t, overKafka)
}
