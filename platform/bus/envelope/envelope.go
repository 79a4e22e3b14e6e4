// Package envelope names a message's attributes in Watermill's metadata, which are also
// the headers of its Kafka record: those of CloudEvents 1.0 in the binary mode of its
// Kafka protocol binding, with the extensions Partitioning, Sequence and Distributed
// Tracing, and Correlation and Causation of our own.
package envelope

// The attributes of CloudEvents.
const (
	SpecVersion = "ce_specversion" // "1.0"
	ID          = "ce_id"          // a UUIDv7
	Source      = "ce_source"      // the module that published or sent the message
	Type        = "ce_type"        // "payment.completed"
	Subject     = "ce_subject"     // the key
	Time        = "ce_time"        // RFC 3339, before the commit
	DataSchema  = "ce_dataschema"  // the type and its major version: "payment.completed/1"
	ContentType = "content-type"   // of the payload
)

// The attributes of extensions.
const (
	Key         = "ce_partitionkey" // messages of one key are handled in order
	Sequence    = "ce_sequence"     // the offset in the sender's log or outbox
	Traceparent = "traceparent"     // W3C Trace Context
	Tracestate  = "tracestate"      // W3C Trace Context
	Correlation = "correlationid"   // what all messages that follow from one request have in common
	Causation   = "causationid"     // the ID of the message that caused this one
)

// Where the message was read. These are no attributes of the event, and no headers.
const (
	Topic     = "topic"
	Partition = "partition"
)
