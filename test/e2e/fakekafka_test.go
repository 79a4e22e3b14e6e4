//go:build slow

package e2e_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/IBM/sarama"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"millrace/platform/bus/kafkabridge/fakebroker"
)

func fake(t *testing.T) []string {
	t.Helper()
	b, err := fakebroker.Start()
	require.NoError(t, err)
	t.Cleanup(b.Close)
	return b.Addresses()
}

func TestPayment_PassesThroughAllModulesOnAFakeKafka(t *testing.T) { onePayment(t, fake(t)) }

func TestDeadLetter_IsListedRetriedAndTracedOnAFakeKafka(t *testing.T) { aDeadLetter(t, fake(t)) }

func TestSIGTERM_FinishesInFlightWorkOnAFakeKafka(t *testing.T) { sigterm(t, fake(t)) }

func TestSIGKILL_UnderLoadLosesAndDuplicatesNothingOnAFakeKafka(t *testing.T) {
	killMinusNine(t, fake(t))
}

// A foreign producer publishes that an order was paid, with invalid amounts and currencies.
func TestForeignRecord_WithInvalidMoneyShipsAndMailsNothingOnAFakeKafka(t *testing.T) {
	t.Parallel()
	brokers := fake(t)
	w := newWorld(t, brokers)
	p := w.serve("127.0.0.1:0")
	p.must("PUT", "/contacts/kim", `{"email":"kim@example.com","language":"ko"}`)
	var prefix string
	for _, setting := range w.env {
		if value, ok := strings.CutPrefix(setting, "MILLRACE_KAFKA_PREFIX="); ok {
			prefix = value
		}
	}
	settings := sarama.NewConfig()
	settings.Producer.Return.Successes = true
	producer, err := sarama.NewSyncProducer(brokers, settings)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, producer.Close()) })
	send := func(order, money string) {
		p.must("PUT", "/deliveries/"+order+"/address", address)
		_, _, err := producer.SendMessage(&sarama.ProducerMessage{
			Topic: prefix + "payment.events", Key: sarama.StringEncoder(order),
			Headers: []sarama.RecordHeader{
				{Key: []byte("ce_id"), Value: []byte(uuid.NewString())}, {Key: []byte("ce_type"), Value: []byte("payment.completed")},
				{Key: []byte("ce_source"), Value: []byte("/legacy")},
			},
			Value: sarama.StringEncoder(fmt.Sprintf(`{"paymentId":"legacy-1","orderKey":%q,"orderKind":"goods","userId":"kim",%s}`, order, money)),
		})
		require.NoError(t, err)
	}
	wrong := []string{`"amount":-5,"currency":"KRW"`, `"amount":0,"currency":"KRW"`, `"currency":"KRW"`, `"amount":12000,"currency":"WON"`, `"amount":12000`, `"amount":12.5,"currency":"KRW"`, `"amount":"12000","currency":"KRW"`,
		`"amount":1e3,"currency":"KRW"`, `"amount":-0,"currency":"KRW"`, `"amount":9223372036854775808,"currency":"KRW"`, `"amount":12000,"currency":"KRW","AMOUNT":-5`, `"amount":null,"currency":null`}
	for i, money := range wrong {
		send(fmt.Sprintf("goods-foreign-%d", i), money)
	}
	send("goods-foreign-good", `"amount":12000,"currency":"KRW"`)
	const dead = `SELECT count(*)::text FROM %[1]s.parked_messages WHERE state = 'dead' AND (error LIKE '%%amount%%' OR error LIKE '%%currency%%')`
	for _, module := range []string{"delivery", "notification", "consultation"} {
		w.eventually(fmt.Sprintf(dead, module), fmt.Sprint(len(wrong)))
	}
	w.eventually(`SELECT coalesce(string_agg(order_key || ' ' || state, ', '), '') FROM delivery.deliveries`, "goods-foreign-good delivered")
	w.eventually(`SELECT coalesce(string_agg(DISTINCT subject, ', '), '') FROM notification.notifications`, "goods-foreign-good")
}
