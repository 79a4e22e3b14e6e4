package kafkabridge

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/IBM/sarama"
	"github.com/google/uuid"

	"millrace/platform/bus"
	"millrace/platform/bus/envelope"
	"millrace/platform/bus/store"
	"millrace/platform/strictjson"
	"millrace/platform/text"
)

// unreadable is the type of a record without a valid type.
const unreadable = store.TypeUnreadable

const structured = "application/cloudevents+json"

// read returns any record as a row. It never fails: a record that the consumer refused would
// stop its partition.
//
// WARNING: a client that may write to the topic can publish in a module's name; Kafka's access
// control decides who may.
//
// A record is one of ours, with a sequence number, if its source is a module that publishes or
// sends in the topic, and if it has all that our own records have. Any other record is foreign:
// it has no number, and what it lacks is derived from what it has, the same for each delivery.
func read(topo *bus.Topology, topic string, m *sarama.ConsumerMessage) store.Row {
	found, payload := attributes(m)
	row := store.Row{
		Topic: topic, Source: found[envelope.Source], Type: found[envelope.Type], Key: found[envelope.Key],
		Payload: payload, Metadata: map[string]string{},
	}
	for _, name := range wire {
		if value := found[name]; value != "" {
			row.Metadata[name] = value
		}
	}
	for _, name := range []string{envelope.ID, envelope.Type, envelope.Subject, envelope.Key, envelope.Sequence} {
		delete(row.Metadata, name) // they are fields of the row
	}
	if row.Type != "" && (!bus.ValidType(row.Type) || store.Reserved(row.Type)) {
		// The type is kept for display.
		row.Metadata[store.MetaBadType] = text.Visible(text.Cut(row.Type, bus.MaxType))
		row.Type = unreadable
	}
	id, err := uuid.Parse(found[envelope.ID])
	if sequence, bad := strconv.ParseInt(found[envelope.Sequence], 10, 64); bad == nil && sequence > 0 && err == nil && id != uuid.Nil &&
		row.Type != "" && row.Key != "" && len(row.Key) <= bus.MaxKey && writesTo(topo, topic, row.Source) {
		row.ID, row.Sequence, row.Partition = id, sequence, store.PartitionOf(row.Key)
		return row
	}
	switch {
	case found[envelope.ID] == "":
		// With the time: after a topic was created again its offsets begin again.
		origin := fmt.Sprintf("%s/%d/%d/%d", m.Topic, m.Partition, m.Offset, m.Timestamp.UnixMilli())
		row.ID = uuid.NewSHA1(uuid.NameSpaceOID, []byte(origin))
	case err != nil || id == uuid.Nil:
		row.ID = uuid.NewSHA1(uuid.NameSpaceURL, []byte(row.Source+"\n"+found[envelope.ID]))
	default:
		row.ID = id
	}
	if row.Type == "" {
		row.Type = unreadable
	}
	if row.Source == "" {
		row.Source = "unknown"
		row.Metadata[envelope.Source] = row.Source
	}
	if row.Key == "" {
		row.Key = clean(string(m.Key))
	}
	switch {
	case row.Key == "" || row.Type == unreadable: // no other message waits behind an unreadable one
		row.Key = row.ID.String()
	case len(row.Key) > bus.MaxKey:
		row.Key = uuid.NewSHA1(uuid.NameSpaceOID, []byte(row.Key)).String()
	}
	row.Partition = store.PartitionOf(row.Key)
	return row
}

// writesTo reports whether a module's messages are in a topic: the owner's in its events,
// those of every module in its commands.
func writesTo(topo *bus.Topology, topic, source string) bool {
	return topic == bus.EventsOf(source) || strings.HasSuffix(topic, ".commands") && slices.Contains(topo.Modules(), source)
}

// attributes returns a record's headers, the last of each name, and its payload. In structured
// mode both are in its value.
func attributes(m *sarama.ConsumerMessage) (found map[string]string, payload []byte) {
	found = make(map[string]string, len(m.Headers))
	for _, h := range m.Headers {
		if h == nil {
			continue
		}
		name := strings.ToLower(string(h.Key))
		if bare, ok := strings.CutPrefix(name, "ce_"); ok && slices.Contains(wire, bare) {
			name = bare // SDKs write our extensions, and traceparent, with the prefix
		}
		if slices.Contains(wire, name) {
			found[name] = clean(string(h.Value))
		}
	}
	payload = m.Value
	if payload == nil {
		payload = []byte{} // a tombstone
	}
	if mode, _, _ := strings.Cut(found[envelope.ContentType], ";"); strings.TrimSpace(mode) == structured {
		if inside, data, ok := parseStructured(m.Value); ok {
			return inside, data
		}
	}
	return found, payload
}

// parseStructured reads a CloudEvent in structured mode.
func parseStructured(value []byte) (found map[string]string, data []byte, ok bool) {
	var members map[string]json.RawMessage
	if strictjson.Unmarshal(value, &members) != nil || members["type"] == nil {
		return nil, nil, false
	}
	found, data = map[string]string{envelope.ContentType: "application/json"}, []byte{}
	for name, raw := range members {
		var text string
		if json.Unmarshal(raw, &text) != nil {
			text = strings.TrimSpace(string(raw)) // a number or a boolean
		}
		switch {
		case name == "data":
			data = raw
		case name == "data_base64":
			if decoded, err := base64.StdEncoding.DecodeString(text); err == nil {
				data = decoded
			}
		case name == "datacontenttype":
			found[envelope.ContentType] = clean(text)
		case slices.Contains(wire, "ce_"+name):
			found["ce_"+name] = clean(text)
		case slices.Contains(wire, name):
			found[name] = clean(text)
		}
	}
	return found, data, true
}

// clean returns the text without what PostgreSQL does not accept: invalid UTF-8, and zero bytes.
func clean(text string) string {
	if utf8.ValidString(text) && strings.IndexByte(text, 0) < 0 {
		return text
	}
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "")
}
