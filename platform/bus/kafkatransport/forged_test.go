//go:build slow

package kafkatransport

import (
	"strconv"
	"testing"

	"github.com/IBM/sarama"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
	"millrace/platform/bus/envelope"
)

// A producer that may write to a topic can give a record any number. The messages of its
// module must not vanish by it.
func TestIntake_ForgedNumbersHideNoMessage(t *testing.T) {
	t.Parallel()
	cfg := configFor(fake(t))
	o := open(t, cfg)
	publish := func(n int) {
		require.NoError(t, o.DB("shop").InTx(t.Context(), func(tx *bus.Tx) error { return tx.Publish(paid{"order-1", n}) }))
	}
	forge := func(sequence int64, n int) {
		var headers []sarama.RecordHeader
		for name, value := range map[string]string{envelope.ID: uuid.NewString(), envelope.Type: "shop.paid", envelope.Source: "shop", envelope.Key: "order-1", envelope.Sequence: strconv.FormatInt(sequence, 10)} {
			headers = append(headers, sarama.RecordHeader{Key: []byte(name), Value: []byte(value)})
		}
		produce(t, cfg, &sarama.ProducerMessage{Topic: "shop.events", Key: sarama.StringEncoder("order-1"), Headers: headers,
			Value: sarama.StringEncoder(`{"order":"order-1","n":` + strconv.Itoa(n) + `}`)})
	}
	const parked = `SELECT coalesce(string_agg(type || ' ' || state || ' ' || convert_from(payload, 'UTF8'), ', ' ORDER BY id), '') FROM store.parked_messages`
	handled := func(want string) {
		t.Helper()
		eventually(t, want, func() bool {
			return o.text(`SELECT coalesce(string_agg(n::text, ' ' ORDER BY n), '') FROM store.effects`) == want
		})
	}
	publish(1)
	handled("1")
	forge(2, 7)
	handled("1 7")
	publish(2)
	eventually(t, "a dead letter of the true message", func() bool { return o.text(parked) == `millrace.refused dead {"order":"order-1","n":2}` })
	forge(1<<60, 8)
	eventually(t, "a dead letter of the number that cannot be", func() bool {
		return o.text(parked) == `millrace.refused dead {"order":"order-1","n":2}, millrace.refused dead {"order":"order-1","n":8}`
	})
	publish(3)
	handled("1 3 7")
}
