package engine

import (
	"fmt"

	"github.com/ThreeDotsLabs/watermill/message"

	"millrace/platform/bus"
	"millrace/platform/bus/store"
)

// origin refuses records whose type belongs to another topic than the one in which they are.
// No publisher of ours writes any, but a module's role may call the functions that append to
// its own log and to queues, with any type. Through a bridge, a module's own queue also has
// records of foreign producers, of all topics.
type origin struct {
	commands string            // the module's own queue
	topics   map[string]string // of the types to which it subscribes
	bridged  bool
}

func newOrigin(cfg Config) origin {
	return origin{bus.CommandsOf(cfg.Module), cfg.Types, cfg.Bridged}
}

// check returns the records of a stream, with those replaced that are refused.
func (o *origin) check(stream string, rows []store.Record) []store.Record {
	if o.bridged && stream == o.commands {
		return rows
	}
	topic := store.TopicOf(stream)
	var checked []store.Record
	for i, row := range rows {
		home, known := o.topics[row.Type]
		ours := !o.bridged && topic != o.commands && store.Reserved(row.Type)
		if !ours && (!known || home == topic) {
			continue
		}
		why := fmt.Sprintf("its type %s belongs to the topic %s, and it came in %s: find out who wrote it there", row.Type, home, topic)
		if ours {
			why = fmt.Sprintf("its type %s is one of the bus itself, and it came in %s: find out who wrote it there", row.Type, topic)
		}
		if checked == nil {
			checked = append(checked, rows...) // the rows are also other subscribers'
		}
		checked[i] = refused(row, why)
	}
	if checked != nil {
		return checked
	}
	return rows
}

// refused returns, in the place of a record, one that becomes a dead letter.
func refused(row store.Record, why string) store.Record {
	metadata := store.DecodeMetadata(row.Metadata)
	if metadata == nil {
		metadata = message.Metadata{}
	}
	metadata[store.MetaRefused], metadata[store.MetaRefusedType] = why, row.Type
	if text, err := store.EncodeMetadata(metadata); err == nil {
		row.Metadata = []byte(text)
	}
	row.Type, row.Key = store.TypeRefused, row.ID.String()
	return row.Fresh()
}
