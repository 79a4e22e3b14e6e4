package kafkabridge

import (
	"maps"
	"strconv"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill/message"

	"millrace/platform/bus/envelope"
	"millrace/platform/bus/store"
)

// wire lists the headers that are sent, in their order. No other metadata leaves the program.
var wire = []string{
	envelope.SpecVersion, envelope.ID, envelope.Source, envelope.Type, envelope.Subject, envelope.Time, envelope.Key, envelope.Sequence, envelope.DataSchema,
	envelope.ContentType, envelope.Traceparent, envelope.Tracestate, envelope.Correlation, envelope.Causation,
}

// marshaler is the wire format for watermill-kafka's Publisher.
type marshaler struct{}

// Marshal returns the message's metadata as headers, in the order of wire. The same message
// gives the same bytes, except for the broker's time stamp. It never fails.
func (marshaler) Marshal(topic string, msg *message.Message) (*sarama.ProducerMessage, error) {
	headers := make([]sarama.RecordHeader, 0, len(wire))
	for _, name := range wire {
		value := msg.Metadata[name]
		if value == "" && name == envelope.SpecVersion {
			value = "1.0"
		}
		if value != "" {
			headers = append(headers, sarama.RecordHeader{Key: []byte(name), Value: []byte(value)})
		}
	}
	return &sarama.ProducerMessage{
		Topic: topic, Key: sarama.StringEncoder(msg.Metadata[envelope.Key]), Value: sarama.ByteEncoder(msg.Payload), Headers: headers,
		Metadata: msg.Context().Value(slotKey{}), // it is not sent
	}, nil
}

// messageOf returns the row as a message with everything that is sent.
func messageOf(row store.Row) *message.Message {
	msg := message.NewMessage(row.ID.String(), row.Payload)
	maps.Copy(msg.Metadata, row.Metadata)
	maps.Copy(msg.Metadata, map[string]string{
		envelope.ID: msg.UUID, envelope.Source: row.Source, envelope.Type: row.Type, envelope.Subject: row.Key,
		envelope.Key: row.Key, envelope.Sequence: strconv.FormatInt(row.Sequence, 10),
	})
	return msg
}
