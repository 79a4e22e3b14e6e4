//go:build slow

package conformance_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"millrace/platform/bus/kafkabridge/fakebroker"
	"millrace/test/conformance"
)

// TestBus_OverFakeKafka runs the suite over Kafka's protocol, with a broker
// in this process: messages go from the publisher's database through the broker
// to the subscriber's database.
func TestBus_OverFakeKafka(t *testing.T) {
	broker, err := fakebroker.Start(kfake.GroupMinSessionTimeout(time.Second))
	require.NoError(t, err)
	t.Cleanup(broker.Close)
	t.Setenv(brokersVariable, strings.Join(broker.Addresses(), ","))
	conformance.Run(t, overKafka)
}
