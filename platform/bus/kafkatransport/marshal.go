package kafkatransport

import (
	"strconv"

	"github.com/IBM/sarama"

	"millrace/platform/bus/sqltransport"
)

// The headers of a record: CloudEvents 1.0 in Kafka's binary mode, and three
// that are known everywhere without a prefix.
const (
	headerSpec        = "ce_specversion"
	headerID          = "ce_id"
	headerSource      = "ce_source"
	headerType        = "ce_type"
	headerSubject     = "ce_subject"
	headerTime        = "ce_time"
	headerKey         = "ce_partitionkey"
	headerSequence    = "ce_sequence"
	headerSchema      = "ce_dataschema"
	headerContentType = "content-type" // CloudEvents' datacontenttype
	headerTraceparent = "traceparent"
	headerTracestate  = "tracestate"
	headerCorrelation = "correlationid"
	headerCausation   = "causationid"
)

// wire lists the headers that leave, in their order: whatever else a message
// carries inside the program stays there.
var wire = []string{
	headerSpec, headerID, headerSource, headerType, headerSubject, headerTime, headerKey, headerSequence, headerSchema,
	headerContentType, headerTraceparent, headerTracestate, headerCorrelation, headerCausation,
}

// record puts a row on the wire. The same row makes the same bytes, but for the
// broker's time stamp.
func record(prefix string, row sqltransport.Row) *sarama.ProducerMessage {
	own := map[string]string{
		headerID: row.ID.String(), headerSource: row.Source, headerType: row.Type, headerSubject: row.Key,
		headerKey: row.Key, headerSequence: strconv.FormatInt(row.Sequence, 10),
	}
	headers := make([]sarama.RecordHeader, 0, len(wire))
	for _, name := range wire {
		value, ok := own[name]
		if !ok {
			value = row.Metadata[name]
		}
		if value == "" && name == headerSpec {
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
