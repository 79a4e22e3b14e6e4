//go:build chaos && kafka

package chaos_test

import (
	"testing"

	"millrace/test/broker"
)

// freshOnApacheKafka is freshOnKafka with a real broker, in its own process.
func freshOnApacheKafka(t *testing.T, environment ...string) *world {
	t.Helper()
	return fresh(t, throughKafka(broker.Start(t, broker.Options{}).Brokers(), environment...)...)
}

func TestTransport_MovesToApacheKafkaAndBackUnderLoad(t *testing.T) {
	movesToKafkaAndBack(t, freshOnApacheKafka)
}
