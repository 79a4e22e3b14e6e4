package e2e_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/platform/bus/kafkatransport/fakebroker"
)

// Each story is told over PostgreSQL and over a fake broker, which outlives the
// program; over Apache Kafka with the tag kafka.

func TestOnePaymentTravelsThroughAllSixModules(t *testing.T) { onePayment(t, nil) }

func TestADeadLetterIsListedRetriedAndTraced(t *testing.T) { aDeadLetter(t, nil) }

func TestSIGTERMUnderLoadFinishesWhatIsInFlight(t *testing.T) { sigterm(t, nil) }

func TestKillMinusNineUnderLoadLosesAndDoublesNothing(t *testing.T) { killMinusNine(t, nil) }

func fake(t *testing.T) []string {
	t.Helper()
	b, err := fakebroker.Start()
	require.NoError(t, err)
	t.Cleanup(b.Close)
	return b.Addresses()
}

func TestOnAFakeKafkaOnePaymentTravelsThroughAllSixModules(t *testing.T) { onePayment(t, fake(t)) }

func TestOnAFakeKafkaADeadLetterIsListedRetriedAndTraced(t *testing.T) { aDeadLetter(t, fake(t)) }

func TestOnAFakeKafkaSIGTERMUnderLoadFinishesWhatIsInFlight(t *testing.T) { sigterm(t, fake(t)) }

func TestOnAFakeKafkaKillMinusNineUnderLoadLosesAndDoublesNothing(t *testing.T) {
	killMinusNine(t, fake(t))
}
