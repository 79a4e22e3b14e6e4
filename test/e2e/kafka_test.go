//go:build kafka

package e2e_test

import (
	"testing"

	"millrace/test/broker"
)

// TestStories_OnApacheKafka runs the stories on a real broker.
func TestStories_OnApacheKafka(t *testing.T) {
	brokers := broker.Start(t, broker.Options{}).Brokers()
	for name, story := range map[string]func(*testing.T, []string){
		"PaymentPassesThroughAllModules":            onePayment,
		"DeadLetterIsListedRetriedAndTraced":        aDeadLetter,
		"SIGTERMFinishesInFlightWork":               sigterm,
		"SIGKILLUnderLoadLosesAndDuplicatesNothing": killMinusNine,
	} {
		t.Run(name, func(t *testing.T) { story(t, brokers) })
	}
}
