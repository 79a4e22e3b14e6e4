//go:build chaos && kafka

package chaos_test

import (
	"testing"

	"millrace/test/broker"
)

// freshOnApacheKafka is freshOnKafka with a real broker, in a process of its own.
func freshOnApacheKafka(t *testing.T, environment ...string) *world {
	t.Helper()
	return fresh(t, throughKafka(broker.Start(t, broker.Options{}).Brokers(), environment...)...)
}

func TestAnInstallationMovesToApacheKafkaAndBackUnderLoad(t *testing.T) {
	movesToKafkaAndBack(t, freshOnApacheKafka)
}
