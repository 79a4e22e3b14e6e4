package kafkabridge

import (
	"testing"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"

	"millrace/platform/bus/envelope"
	"millrace/platform/bus/store"
)

func TestWriter_ForeignRecordsDelayNoMessage(t *testing.T) {
	t.Parallel()
	cfg := configFor(fake(t))
	s := newTestSender(t, cfg, "shop.events")
	headers := func(typ string) []sarama.RecordHeader {
		return []sarama.RecordHeader{{Key: []byte("ce_type"), Value: []byte(typ)}, {Key: []byte("ce_id"), Value: []byte("A-1")}, {Key: []byte("ce_source"), Value: []byte("/legacy")}}
	}
	key := sarama.StringEncoder("order-1") // one partition
	produce(t, cfg, &sarama.ProducerMessage{Topic: "shop.events", Key: key, Value: sarama.ByteEncoder("\xff no JSON")})
	produce(t, cfg, &sarama.ProducerMessage{Topic: "shop.events", Key: key}) // a tombstone
	produce(t, cfg, &sarama.ProducerMessage{Topic: "shop.events", Key: key, Headers: headers("nobody.knows")})
	produce(t, cfg, &sarama.ProducerMessage{Topic: "shop.events", Key: key, Headers: headers("store.pack")})
	produce(t, cfg, &sarama.ProducerMessage{Topic: "shop.events", Key: key, Headers: headers("shop.noted")}) // to which the store does not subscribe
	produce(t, cfg, &sarama.ProducerMessage{Topic: "shop.events", Key: key, Headers: headers("shop.paid"), Value: sarama.ByteEncoder(`{}`)})
	forwardAll(t, s, rowsOf("order-1", 1, 2))
	to := newFakeInbound()
	c := startConsumer(t, cfg, to)
	rows := to.until(t, "all", func(rows []store.Row, _ int) bool { return len(rows) == 5 })
	var types []string
	for _, row := range rows {
		types = append(types, row.Type)
	}
	require.Equal(t, []string{unreadable, unreadable, "shop.paid", "shop.paid", "shop.paid"}, types)
	require.Equal(t, []int64{0, 0, 0, 1, 2}, []int64{rows[0].Sequence, rows[1].Sequence, rows[2].Sequence, rows[3].Sequence, rows[4].Sequence})
	require.Equal(t, "/legacy", rows[2].Metadata[envelope.Source])
	require.Equal(t, []int64{2, 2, 1}, []int64{c.counters.unreadable.Load(), c.counters.skipped.Load(), c.counters.foreign.Load()})
}
