package e2e_test

import "testing"

// Each story also runs on a fake broker, which keeps running when the program ends
// (tag slow), and on Apache Kafka (tag kafka).

func TestPayment_PassesThroughAllModules(t *testing.T) { onePayment(t, nil) }

func TestDeadLetter_IsListedRetriedAndTraced(t *testing.T) { aDeadLetter(t, nil) }

func TestSIGTERM_FinishesInFlightWork(t *testing.T) { sigterm(t, nil) }
