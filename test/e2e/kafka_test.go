//go:build kafka

package e2e_test

import (
	"testing"

	"millrace/test/broker"
)

// TestTheStoriesOnApacheKafka tells them over a real broker.
func TestTheStoriesOnApacheKafka(t *testing.T) {
	brokers := broker.Start(t, broker.Options{}).Brokers()
	for name, story := range map[string]func(*testing.T, []string){
		"OnePaymentTravelsThroughAllSixModules":        onePayment,
		"ADeadLetterIsListedRetriedAndTraced":          aDeadLetter,
		"SIGTERMUnderLoadFinishesWhatIsInFlight":       sigterm,
		"KillMinusNineUnderLoadLosesAndDoublesNothing": killMinusNine,
	} {
		t.Run(name, func(t *testing.T) { story(t, brokers) })
	}
}
