package kafkabridge

import (
	"encoding/binary"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/IBM/sarama"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
	"millrace/platform/bus/store"
)

func aRow() store.Row {
	return store.Row{
		Topic: "shop.events", Source: "shop", Partition: store.PartitionOf("주문-1"), Sequence: 7,
		ID: uuid.MustParse("01920000-0000-7000-8000-000000000001"), Type: "shop.paid", Key: "주문-1", Payload: []byte(`{"order":"주문-1"}`),
		Metadata: map[string]string{
			"ce_specversion": "1.0", "ce_source": "shop", "ce_time": "2026-11-22T10:00:00Z", "ce_dataschema": "shop.paid/1",
			"content-type": "application/json", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
			"correlationid": "c", "causationid": "d",
		},
	}
}

// arrived returns a produced record as a consumer gets it.
func arrived(m *sarama.ProducerMessage) *sarama.ConsumerMessage {
	key, _ := m.Key.Encode()     // our encoders have no errors
	value, _ := m.Value.Encode() // likewise
	c := &sarama.ConsumerMessage{Topic: m.Topic, Key: key, Value: value, Timestamp: time.Unix(1, 0)}
	for _, h := range m.Headers {
		c.Headers = append(c.Headers, &h)
	}
	return c
}

func foreign(key, value string, headers ...string) *sarama.ConsumerMessage {
	m := &sarama.ConsumerMessage{Topic: "shop.events", Partition: 3, Offset: 9, Key: []byte(key), Value: []byte(value), Timestamp: time.Unix(1, 0)}
	for i := 0; i+1 < len(headers); i += 2 {
		m.Headers = append(m.Headers, &sarama.RecordHeader{Key: []byte(headers[i]), Value: []byte(headers[i+1])})
	}
	return m
}

func TestRead_ReturnsRowThatWasSent(t *testing.T) {
	t.Parallel()
	want := aRow()
	got := read(topology(t), "shop.events", arrived(recordOf(t, "p.", want)))
	delete(want.Metadata, "none")
	require.Equal(t, want, got)
}

func TestMarshaler_WritesCloudEventInBinaryMode(t *testing.T) {
	t.Parallel()
	row := aRow()
	row.Metadata["secret"] = "stays here"
	for range 20 { // the order of a map must not be visible
		m := recordOf(t, "p.", row)
		require.Equal(t, "p.shop.events", m.Topic)
		require.Equal(t, sarama.StringEncoder("주문-1"), m.Key)
		var headers []string
		for _, h := range m.Headers {
			headers = append(headers, string(h.Key)+"="+string(h.Value))
		}
		require.Equal(t, []string{
			"ce_specversion=1.0", "ce_id=01920000-0000-7000-8000-000000000001", "ce_source=shop", "ce_type=shop.paid", "ce_subject=주문-1",
			"ce_time=2026-11-22T10:00:00Z", "ce_partitionkey=주문-1", "ce_sequence=7", "ce_dataschema=shop.paid/1", "content-type=application/json",
			"traceparent=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "correlationid=c", "causationid=d",
		}, headers)
	}
}

func TestRead_CompletesForeignRecord(t *testing.T) {
	t.Parallel()
	topo := topology(t)
	id := "01920000-0000-7000-8000-000000000009"
	v5 := func(space uuid.UUID, text string) uuid.UUID { return uuid.NewSHA1(space, []byte(text)) }
	origin := v5(uuid.NameSpaceOID, "shop.events/3/9/1000")
	for name, c := range map[string]struct {
		record *sarama.ConsumerMessage
		id     uuid.UUID
		typ    string
		key    string
		source string
		data   string
	}{
		"an event of an SDK":          {foreign("k", `{}`, "ce_id", id, "ce_type", "shop.paid", "ce_source", "/legacy"), uuid.MustParse(id), "shop.paid", "k", "/legacy", `{}`},
		"its own partition key":       {foreign("k", `{}`, "ce_id", id, "ce_type", "shop.paid", "ce_partitionkey", "q"), uuid.MustParse(id), "shop.paid", "q", "unknown", `{}`},
		"an id that is no UUID":       {foreign("k", `{}`, "ce_id", "A-1", "ce_type", "shop.paid", "ce_source", "/legacy"), v5(uuid.NameSpaceURL, "/legacy\nA-1"), "shop.paid", "k", "/legacy", `{}`},
		"no id, no key":               {foreign("", `{}`, "ce_type", "shop.paid"), origin, "shop.paid", origin.String(), "unknown", `{}`},
		"no headers":                  {foreign("k", "\xff\x00"), origin, unreadable, origin.String(), "unknown", "\xff\x00"},
		"a tombstone":                 {&sarama.ConsumerMessage{Topic: "shop.events", Partition: 3, Offset: 9, Timestamp: time.Unix(1, 0)}, origin, unreadable, origin.String(), "unknown", ""},
		"bytes no database takes":     {foreign("a\x00\xff", `{}`, "ce_id", id, "ce_type", "shop.paid"), uuid.MustParse(id), "shop.paid", "a\uFFFD", "unknown", `{}`},
		"a number that is not ours":   {foreign("k", `{}`, "ce_id", id, "ce_type", "shop.paid", "ce_source", "/legacy", "ce_sequence", "12"), uuid.MustParse(id), "shop.paid", "k", "/legacy", `{}`},
		"another module's number":     {foreign("k", `{}`, "ce_id", id, "ce_type", "shop.paid", "ce_source", "store", "ce_sequence", "12", "ce_partitionkey", "k"), uuid.MustParse(id), "shop.paid", "k", "store", `{}`},
		"ours, without its id":        {foreign("k", `{}`, "ce_type", "shop.paid", "ce_source", "shop", "ce_sequence", "12", "ce_partitionkey", "k"), origin, "shop.paid", "k", "shop", `{}`},
		"structured mode":             {foreign("", `{"specversion":"1.0","id":"`+id+`","type":"shop.paid","source":"/s","partitionkey":"q","data":{"a":1}}`, "content-type", "application/cloudevents+json; charset=utf-8"), uuid.MustParse(id), "shop.paid", "q", "/s", `{"a":1}`},
		"structured mode, base64":     {foreign("k", `{"id":"`+id+`","type":"shop.paid","source":"/s","data_base64":"AQI="}`, "content-type", "application/cloudevents+json"), uuid.MustParse(id), "shop.paid", "k", "/s", "\x01\x02"},
		"structured mode, not JSON":   {foreign("k", `{`, "content-type", "application/cloudevents+json"), origin, unreadable, origin.String(), "unknown", `{`},
		"a key that is much too long": {foreign(strings.Repeat("k", 300), `{}`, "ce_id", id, "ce_type", "shop.paid"), uuid.MustParse(id), "shop.paid", v5(uuid.NameSpaceOID, strings.Repeat("k", 300)).String(), "unknown", `{}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			row := read(topo, "shop.events", c.record)
			require.Zero(t, row.Sequence)
			require.Equal(t, []any{c.id, c.typ, c.key, c.source, c.data}, []any{row.ID, row.Type, row.Key, row.Source, string(row.Payload)})
			require.NotNil(t, row.Payload)
			require.Equal(t, store.PartitionOf(row.Key), row.Partition)
		})
	}
}

// The record is stored whole, and our own records keep their sequence numbers: else there would
// be a gap.
func TestRead_InvalidTypeIsUnreadable(t *testing.T) {
	t.Parallel()
	topo := topology(t)
	id := "01920000-0000-7000-8000-000000000009"
	for given, shown := range map[string]string{
		"\x1b]0;x\ashop.paid": `\x1b]0;x\ashop.paid`, "Shop.Paid": "Shop.Paid", "shop paid": "shop paid", "-paid": "-paid", "shop.paid\n": `shop.paid\n`,
		"$(touch x)": "$(touch x)", "shop.paid\u202e": `shop.paid\u202e`, "상점": "상점", "--by=x": "--by=x",
		strings.Repeat("a", 101): strings.Repeat("a", 100) + "…", "millrace.lost.rest": "millrace.lost.rest", "unreadable": "unreadable",
	} {
		row := read(topo, "shop.events", foreign("k", `{"order":"k"}`, "ce_id", id, "ce_type", given, "ce_source", "/legacy"))
		require.Equal(t, []any{unreadable, id, id, "/legacy", `{"order":"k"}`, shown},
			[]any{row.Type, row.ID.String(), row.Key, row.Source, string(row.Payload), row.Metadata[store.MetaBadType]}, "%q", given)
		row = read(topo, "shop.events", foreign("k", `{}`, "ce_id", id, "ce_type", given, "ce_source", "shop", "ce_sequence", "12", "ce_partitionkey", "k"))
		require.Equal(t, []any{unreadable, int64(12), "k", shown}, []any{row.Type, row.Sequence, row.Key, row.Metadata[store.MetaBadType]}, "%q", given)
	}
	row := read(topo, "shop.events", foreign("k", `{}`, "ce_id", id, "ce_type", "shop.paid_2-b"))
	require.Equal(t, "shop.paid_2-b", row.Type)
}

func FuzzRead_NeverFails(f *testing.F) {
	f.Add([]byte("k"), []byte(`{}`), "ce_type", []byte("shop.paid"))
	f.Add([]byte(nil), []byte(`{"type":"shop.paid","id":1,"data":null}`), "content-type", []byte("application/cloudevents+json"))
	f.Add([]byte("\x00"), []byte(`[`), "ce_sequence", []byte("-1"))
	topo := topology(f)
	f.Fuzz(func(t *testing.T, key, value []byte, name string, header []byte) {
		row := read(topo, "shop.events", &sarama.ConsumerMessage{
			Topic: "shop.events", Key: key, Value: value, Headers: []*sarama.RecordHeader{nil, {Key: []byte(name), Value: header}},
		})
		require.NotEqual(t, uuid.Nil, row.ID)
		require.True(t, bus.ValidType(row.Type), "%q", row.Type)
		require.NotEmpty(t, row.Key)
		require.LessOrEqual(t, len(row.Key), bus.MaxKey)
		require.Equal(t, store.PartitionOf(row.Key), row.Partition)
		texts := []string{row.Type, row.Key, row.Source}
		for name, value := range row.Metadata {
			texts = append(texts, name, value)
		}
		for _, text := range texts {
			require.True(t, utf8.ValidString(text) && !strings.Contains(text, "\x00"), "%q", text)
		}
	})
}

// javaPartition is org.apache.kafka.clients.producer.internals.BuiltInPartitioner:
// Utils.toPositive(Utils.murmur2(key)) % partitions.
func javaPartition(key []byte, partitions int32) int32 {
	const m, r = 0x5bd1e995, 24
	h := uint32(0x9747b28c) ^ uint32(len(key))
	i := 0
	for ; i+4 <= len(key); i += 4 {
		k := binary.LittleEndian.Uint32(key[i:]) * m
		k = (k ^ k>>r) * m
		h = h*m ^ k
	}
	switch len(key) - i {
	case 3:
		h ^= uint32(key[i+2]) << 16
		fallthrough
	case 2:
		h ^= uint32(key[i+1]) << 8
		fallthrough
	case 1:
		h = (h ^ uint32(key[i])) * m
	}
	h = (h ^ h>>13) * m
	h ^= h >> 15
	return int32(h&0x7fffffff) % partitions
}

func TestProducer_PartitionsKeysAsJava(t *testing.T) {
	t.Parallel()
	// What Java's own Utils.murmur2 gives (from Kafka's UtilsTest).
	for key, hash := range map[string]int32{"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536, "abc": 479470107} {
		require.Equal(t, (hash&0x7fffffff)%64, javaPartition([]byte(key), 64), key)
	}
	cfg := Config{}.withDefaults()
	settings, err := cfg.producer()
	require.NoError(t, err)
	for n := range 2000 {
		key := strings.Repeat("k", n%7) + uuid.NewString()[:n%13] + string(rune('가'+n))
		row := store.Row{Key: key, Topic: "shop.events"}
		for _, partitions := range []int32{1, 2, 8, 12, 64} {
			got, err := settings.Producer.Partitioner("shop.events").Partition(recordOf(t, "", row), partitions)
			require.NoError(t, err)
			require.Equal(t, javaPartition([]byte(key), partitions), got)
			if partitions != 12 { // with a power of two, each of our partitions is in one of theirs
				require.EqualValues(t, store.PartitionOf(key)%int(partitions), got)
			}
		}
	}
}
