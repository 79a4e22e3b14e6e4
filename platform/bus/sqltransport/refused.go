package sqltransport

import (
	"fmt"

	"github.com/ThreeDotsLabs/watermill/message"

	"millrace/platform/bus"
	"millrace/platform/bus/store"
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
	topic := store.TopicOf(stream)
	if s.relay() || s.t.cfg.Carrier != nil && stream == bus.CommandsOf(s.schema) {
		return rows
	}
	var screened []record
	for i, row := range rows {
		home, known := s.homes[row.typ]
		ours := s.t.cfg.Carrier == nil && topic != bus.CommandsOf(s.schema) && store.Reserved(row.typ)
		if !ours && (!known || home == topic) {
			continue
		}
		why := fmt.Sprintf("its type %s belongs to the topic %s, and it came in %s: find out who wrote it there", row.typ, home, topic)
		if ours {
			why = fmt.Sprintf("its type %s is one of the bus itself, and it came in %s: find out who wrote it there", row.typ, topic)
		}
		if screened == nil {
			screened = append(screened, rows...) // the rows are also other subscribers'
		}
		screened[i] = refuse(row, why)
	}
	if screened != nil {
		return screened
	}
	return rows
}

// refuse makes of a row one that becomes a dead letter.
func refuse(row record, why string) record {
	metadata := store.DecodeMetadata(row.metadata)
	if metadata == nil {
		metadata = message.Metadata{}
	}
	metadata[store.MetaRefused], metadata[store.MetaRefusedType] = why, row.typ
	if text, err := store.EncodeMetadata(metadata); err == nil {
		row.metadata = []byte(text)
	}
	row.typ, row.key, row.decoded = store.TypeRefused, row.id.String(), &decodedMetadata{}
	return row
}
