package kafkatransport

import (
	"strconv"

	"github.com/IBM/sarama"

	"millrace/platform/bus/envelope"
	"millrace/platform/bus/store"
)

// wire lists the headers that leave, in their order: whatever else a message
// carries inside the program stays there.
var wire = []string{
	envelope.SpecVersion, envelope.ID, envelope.Source, envelope.Type, envelope.Subject, envelope.Time, envelope.Key, envelope.Sequence, envelope.DataSchema,
	envelope.ContentType, envelope.Traceparent, envelope.Tracestate, envelope.Correlation, envelope.Causation,
}

// record puts a row on the wire. The same row makes the same bytes, but for the
// broker's time stamp.
func record(prefix string, row store.Row) *sarama.ProducerMessage {
	own := map[string]string{
		envelope.ID: row.ID.String(), envelope.Source: row.Source, envelope.Type: row.Type, envelope.Subject: row.Key,
		envelope.Key: row.Key, envelope.Sequence: strconv.FormatInt(row.Sequence, 10),
	}
	headers := make([]sarama.RecordHeader, 0, len(wire))
	for _, name := range wire {
		value, ok := own[name]
		if !ok {
			value = row.Metadata[name]
		}
		if value == "" && name == envelope.SpecVersion {
			value = "1.0"
		}
		if value != "" {
			headers = append(headers, sarama.RecordHeader{Key: []byte(name), Value: []byte(value)})
		}
	}
	return &sarama.ProducerMessage{
		Topic: prefix + row.Topic, Key: sarama.StringEncoder(row.Key), Value: sarama.ByteEncoder(row.Payload), Headers: headers,
	}
}
