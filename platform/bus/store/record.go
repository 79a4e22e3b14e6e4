package store

import (
	"maps"
	"strconv"
	"strings"
	"sync"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"

	"millrace/platform/bus/envelope"
)

// Record is one row of an event log, a command queue, an outbox or an inbound table. It
// never changes: offsets have no gaps and follow the commit order, so a row that was read
// once stays valid.
type Record struct {
	Offset   int64
	ID       uuid.UUID
	Type     string
	Key      string
	Payload  []byte
	Metadata []byte // JSON

	decoded *decodedMetadata
}

// decodedMetadata is a record's metadata, decoded once for all subscribers: to decode it for
// each took a tenth of the client's processor time.
type decodedMetadata struct {
	once     sync.Once
	metadata message.Metadata
}

// Fresh returns the record with metadata that is not decoded yet. Every record needs it
// once, and again after its Metadata was changed.
func (r Record) Fresh() Record {
	r.decoded = &decodedMetadata{}
	return r
}

// Message returns the message that the router gets. The payload and the metadata are
// copies: middleware writes to them.
func (r *Record) Message(stream string, partition int) *message.Message {
	metadata := r.envelope(stream, partition)
	msg := message.NewMessage(metadata[envelope.ID], append([]byte(nil), r.Payload...))
	msg.Metadata = metadata
	return msg
}

func (r *Record) envelope(stream string, partition int) message.Metadata {
	r.decoded.once.Do(func() {
		m := &r.decoded.metadata
		if *m = DecodeMetadata(r.Metadata); *m == nil {
			*m = message.Metadata{}
		}
		for name, value := range map[string]string{
			envelope.ID: r.ID.String(), envelope.Type: r.Type, envelope.Key: r.Key, envelope.Subject: r.Key,
			envelope.Sequence: strconv.FormatInt(r.Offset, 10), envelope.Topic: TopicOf(stream), envelope.Partition: strconv.Itoa(partition),
		} {
			(*m)[name] = value
		}
		if owner, events := strings.CutSuffix(TopicOf(stream), ".events"); events {
			(*m)[envelope.Source] = owner // the module's role could have written another one
		}
	})
	return maps.Clone(r.decoded.metadata)
}

// Identity is what makes a message the same one when it comes again. The ID alone does not:
// each module's role can give any ID to the messages of its own topics.
type Identity struct {
	ID    uuid.UUID
	Topic string // not the stream: a command is the same message in any sender's stream
}

// IdentityOf returns the identity of a stream's record.
func IdentityOf(stream string, r Record) Identity { return Identity{r.ID, TopicOf(stream)} }
