package sqltransport

import (
	"fmt"
	"strings"

	"github.com/ThreeDotsLabs/watermill/message"

	"millrace/platform/bus"
)

// typeRefused is the type of what nobody handles, since it cannot be what it claims
// to be. It becomes a dead letter of a key of its own, so that nothing waits for it,
// with the text in metaRefused; metaRefusedType and metaRefusedID are those that it
// came with.
const (
	typeRefused     = "millrace.refused"
	metaRefused     = "refused"
	metaRefusedType = "refusedtype"
	metaRefusedID   = "refusedid"
)

// homes are the topics of the types that a module subscribes to.
func homes(topo *bus.Topology, module string) map[string]string {
	all := map[string]string{}
	for _, sub := range topo.SubscriptionsOf(module) {
		all[sub.Type] = topo.TopicOf(sub.Type)
	}
	return all
}

// screen refuses rows whose type belongs to another topic than the one in which they
// are. No publisher of ours writes any, but a module's role may call the functions
// that append to its own log and to queues, with any type. With a carrier, a module's
// own queue also has the records of others, of all topics.
func (s *subscriber) screen(stream string, rows []record) []record {
	topic := topicOf(stream)
	if s.relay() || s.t.cfg.Carrier != nil && stream == bus.CommandsOf(s.schema) {
		return rows
	}
	var screened []record
	for i, row := range rows {
		home, known := s.homes[row.typ]
		if !known || home == topic {
			continue
		}
		if screened == nil {
			screened = append(screened, rows...) // the rows are also other subscribers'
		}
		screened[i] = refuse(row, fmt.Sprintf("its type %s belongs to the topic %s, and it came in %s: find out who wrote it there", row.typ, home, topic))
	}
	if screened != nil {
		return screened
	}
	return rows
}

// refuse makes of a row one that becomes a dead letter.
func refuse(row record, why string) record {
	metadata := metadataOf(row.metadata)
	if metadata == nil {
		metadata = message.Metadata{}
	}
	metadata[metaRefused], metadata[metaRefusedType] = why, row.typ
	if text, err := restOf(metadata); err == nil {
		row.metadata = []byte(text)
	}
	row.typ, row.key, row.decoded = typeRefused, row.id.String(), &decodedMetadata{}
	return row
}

// Reserved reports whether a type is one that this package gives, and no record
// may bring.
func Reserved(messageType string) bool {
	return messageType == TypeUnreadable || strings.HasPrefix(messageType, "millrace.")
}

// Hopeless returns why it makes no sense to try a dead letter of a type again, or
// nothing: what stands for messages that never arrived, what nobody could read, and
// what was refused can only be discarded.
func Hopeless(messageType string) (why string) {
	switch {
	case strings.HasPrefix(messageType, typeLost):
		return "it never arrived, so there is nothing to try: mend what its sender's message should have done, and discard it"
	case messageType == TypeUnreadable:
		return "nobody can read it, so there is nothing to try: have its producer send it again as a CloudEvent with a type of a–z, 0–9, '.', '_' and '-', and discard it"
	case messageType == typeRefused:
		return "it was refused, so there is nothing to try: do what its error names, and discard it"
	}
	return ""
}
