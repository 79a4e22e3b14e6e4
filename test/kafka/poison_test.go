//go:build kafka || slow || cloudevents

package kafka

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"

	"millrace/platform/bus/kafkabridge"
)

// poisoned writes records that no module of ours published into every partition of
// both topics, repeatedly, under load. The expected results:
//
//   - a record without a type becomes a dead letter and blocks nothing;
//   - a record of a known type that cannot be decoded becomes a dead letter and
//     blocks later messages of the same source and key, but not our own;
//   - a record of another type is skipped.
func poisoned(t *testing.T, cfg kafkabridge.Config, codecs ...sarama.CompressionCodec) {
	t.Helper()
	o := open(t, cfg)
	header := func(pairs ...string) (all []sarama.RecordHeader) {
		for i := 0; i < len(pairs); i += 2 {
			all = append(all, sarama.RecordHeader{Key: []byte(pairs[i]), Value: []byte(pairs[i+1])})
		}
		return all
	}
	unread, repeated, known := 0, 0, 0
	poison := func(topic string, partition int32) (records []*sarama.ProducerMessage) {
		add := func(key, value sarama.Encoder, headers []sarama.RecordHeader) {
			records = append(records, &sarama.ProducerMessage{Topic: topic, Partition: partition, Key: key, Value: value, Headers: headers})
		}
		ours := sarama.StringEncoder("order-a") // a key of ours, perhaps in another partition than ours
		// Five without a type.
		add(nil, sarama.ByteEncoder("\xff\x00 no JSON, no key, no header"), nil)
		add(ours, nil, nil) // a tombstone
		add(sarama.ByteEncoder("\xff\x00"), sarama.StringEncoder(`[`), header("\xff\x00", "\xff\x00", "ce_id", "\x00", "", ""))
		add(ours, sarama.StringEncoder(`{"specversion":"1.0"`), header("content-type", "application/cloudevents+json"))
		add(ours, sarama.StringEncoder(`{}`), header("ce_source", "shop", "ce_sequence", "1", "ce_id", "0190b5f0-0000-7000-8000-000000000001"))
		unread += 5
		if unread > 5 {
			repeated++ // the last of the five has an id, so it is a duplicate now
		}
		// Three of other types, one as large as a broker takes.
		add(ours, sarama.StringEncoder(`{}`), header("ce_type", "nobody.knows", "ce_id", "A-1", "ce_source", "/legacy"))
		add(ours, sarama.StringEncoder(strings.Repeat("x", 900<<10)), header("ce_type", "nobody.knows"))
		add(ours, sarama.StringEncoder(`{}`), header("ce_type", "mill.ground", "ce_source", "shop", "ce_sequence", "-1"))
		// One of a known type that cannot be decoded, with a key of ours.
		typeOf := map[string]string{"shop.events": "shop.paid", "store.commands": "store.pack"}[topic]
		add(ours, sarama.StringEncoder("no JSON"), header("ce_type", typeOf, "ce_id", topic+strconv.Itoa(known), "ce_source", "/legacy", "ce_sequence", "x"))
		known++
		return records
	}
	write := func(codec sarama.CompressionCodec, messages []*sarama.ProducerMessage) {
		settings := sarama.NewConfig()
		settings.Version = sarama.V3_6_0_0
		settings.Producer.Return.Successes, settings.Producer.RequiredAcks = true, sarama.WaitForAll
		settings.Producer.Partitioner, settings.Producer.Compression = sarama.NewManualPartitioner, codec
		p, err := sarama.NewSyncProducer(cfg.Brokers, settings)
		require.NoError(t, err)
		require.NoError(t, p.SendMessages(messages))
		require.NoError(t, p.Close())
	}
	l := underLoad(o, 20*time.Millisecond)
	for _, codec := range codecs {
		var records []*sarama.ProducerMessage
		for _, topic := range []string{"shop.events", "store.commands"} {
			for partition := range int32(8) {
				records = append(records, poison(topic, partition)...)
			}
		}
		write(codec, records)
		before := l.published.Load()
		eventually(t, "more", func() bool { return l.published.Load() > before+20 })
	}
	// Copies of our own records are recognized by their sequence number.
	var copies []*sarama.ProducerMessage
	for _, record := range everything(t, cfg.Brokers, "shop.events") {
		if len(record.Headers) < 6 {
			continue // not one of ours
		}
		m := &sarama.ProducerMessage{Topic: record.Topic, Partition: record.Partition, Key: sarama.ByteEncoder(record.Key), Value: sarama.ByteEncoder(record.Value)}
		for _, h := range record.Headers {
			m.Headers = append(m.Headers, *h)
		}
		copies = append(copies, m)
	}
	require.GreaterOrEqual(t, len(copies), 50)
	write(sarama.CompressionNone, copies)
	close(l.stop)
	require.NoError(t, <-l.done)
	o.took(int(l.published.Load()))
	eventually(t, "what waits for an operator", func() bool {
		return o.text(`SELECT count(*) FILTER (WHERE type = 'unreadable') || ' ' || count(*) FILTER (WHERE type <> 'unreadable' AND state IN ('dead', 'blocked')) FROM store.parked_messages`) ==
			strconv.Itoa(unread-repeated)+" "+strconv.Itoa(known)
	})
	require.GreaterOrEqual(t, o.Counts().Unreadable, int64(unread)) // a record that is read again is counted again
	eventually(t, "flowing", func() bool { return o.Flowing() == nil })
}

func TestConsumer_PoisonRecordsOfAFakeBrokerBlockNoOthers(t *testing.T) {
	t.Parallel()
	poisoned(t, configFor(fake(t).Addresses()), sarama.CompressionNone)
}
