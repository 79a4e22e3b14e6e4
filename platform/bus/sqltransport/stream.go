package sqltransport

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/google/uuid"

	"millrace/platform/bus"
)

// A Carrier brings messages from the database of the module that says them to
// those of the modules that hear them. Without one all modules share a
// database, and a subscriber reads its owner's log there.
//
// With one, only the road is different. What a module says stays in its own
// schema, events in its log, commands in its outbox, numbered without gaps; a
// subscriber called <module>.relay hands the rows over in order. What arrives
// (Transport.Receive) is written into the hearing module's inbound table under
// the same numbers, and is handled from there like any log. So what a carrier
// repeats is dropped, what it reorders is put back in order, and what it loses
// is seen.
type Carrier interface {
	// Name is what the registry of topics calls it.
	Name() string
	// Forward hands rows of one partition of one stream over, in order. It
	// returns how many of them, from the first on, cannot be lost any more,
	// and, if that is not all of them, why: the rest is given again, after a
	// pause. A crash gives rows again that were handed over before. Several
	// partitions are forwarded at the same time.
	Forward(ctx context.Context, rows []Row) (confirmed int, err error)
}

// Row is a message on its way between databases.
type Row struct {
	Topic     string // the owner's events or commands: "payment.events"
	Source    string // the module that said it
	Partition int    // 0…63: murmur2(key) & 63
	Sequence  int64  // gapless per topic, source and partition; 0: it comes from somebody who does not count
	ID        uuid.UUID
	Type      string
	Since     int64 // how many records the carrier had since what was received before, at most: see refuseJumps
	Key       string
	Payload   []byte
	Metadata  map[string]string // the envelope but what has a field here
}

// A stream is one numbered sequence of messages: an owner's events
// ("payment.events"), the commands in an owner's queue ("payment.commands"),
// or, under a carrier, one sender's commands to an owner
// ("payment.commands/delivery"). Positions belong to streams, so those in an
// owner's events stay true when the carrier changes.

// streamOf names the stream in which source says messages of a topic.
func (t *Transport) streamOf(topic, source string) string {
	if t.cfg.Carrier == nil || strings.HasSuffix(topic, ".events") {
		return topic
	}
	return topic + "/" + source
}

// topicOf is the topic whose messages are in the stream.
func topicOf(stream string) string {
	topic, _, _ := strings.Cut(stream, "/")
	return topic
}

// hears lists the streams in which a module's subscriptions arrive.
func (t *Transport) hears(module string) []string {
	found := map[string]bool{}
	for _, sub := range t.topo.SubscriptionsOf(module) {
		topic := t.topo.TopicOf(sub.Type)
		if t.cfg.Carrier == nil || !sub.Command {
			found[topic] = true
		}
		for _, sender := range t.topo.SendersOf(sub.Type) {
			found[t.streamOf(topic, sender)] = true
		}
	}
	if t.cfg.Carrier != nil {
		found[bus.CommandsOf(module)] = true // what came from somebody who does not count
	}
	return slices.Collect(maps.Keys(found))
}

// said lists the streams in which a module speaks.
func (t *Transport) said(module string) []string {
	found := map[string]bool{}
	for _, event := range t.topo.Events() {
		if t.topo.TopicOf(event) == bus.EventsOf(module) {
			found[bus.EventsOf(module)] = true
		}
	}
	for _, command := range t.topo.Commands() {
		if slices.Contains(t.topo.SendersOf(command), module) {
			found[t.streamOf(t.topo.TopicOf(command), module)] = true
		}
	}
	return slices.Collect(maps.Keys(found))
}

// Heard lists the topics that a carrier must bring to a module.
func (t *Transport) Heard(module string) []string {
	found := map[string]bool{}
	for _, sub := range t.topo.SubscriptionsOf(module) {
		found[t.topo.TopicOf(sub.Type)] = true
	}
	return slices.Sorted(maps.Keys(found))
}

// feed makes the readers of the subscriber's streams. Subscribers that read the
// same table share a reader.
func (t *Transport) feed(s *subscriber) {
	for stream := range s.tasks {
		name, from := stream, table(stream)
		topic, source, sent := strings.Cut(stream, "/")
		ours := stream == bus.CommandsOf(s.schema) || s.relay()
		switch {
		case t.cfg.Carrier == nil, ours && !sent:
		case ours:
			from = outboxOf(source, topic)
		default:
			name = arrived(s.schema, stream)
			from = "(SELECT * FROM " + s.schema + ".inbound WHERE topic = '" + stream + "') AS arrived"
		}
		if t.readers[name] == nil {
			r := newReader(t.db, stream, from)
			r.holes = name != stream
			if s.relay() {
				r.page = forwardRows
			}
			t.readers[name] = r
		}
		t.readers[name].hearers++
		s.readers[stream] = t.readers[name]
	}
}

// arrived names, for wake-ups, what a carrier brings to a module of a stream.
func arrived(module, stream string) string { return module + "<" + stream }

// Kept says where a stream's messages are, in the database of whoever said
// them: as PostgreSQL or as any carrier brings them.
type Kept struct {
	Stream string // as positions, inboxes and dead letters name it
	Topic  string
	Schema string // the module's in whose tables they are
	Table  string // for a FROM clause: partition, "offset", id, type, key, payload, metadata, created_at
}

// Everything lists where all messages are kept, for whoever looks at the whole
// product: streams that the present carrier does not use are empty. Commands are
// swept some time after they were handled.
func Everything(topo *bus.Topology) (all []Kept) {
	for _, module := range topo.Modules() {
		events, commands := bus.EventsOf(module), bus.CommandsOf(module)
		all = append(all, Kept{events, events, module, table(events)}, Kept{commands, commands, module, table(commands)})
		senders := map[string]bool{}
		for _, command := range topo.Commands() {
			if topo.TopicOf(command) == commands {
				for _, sender := range topo.SendersOf(command) {
					senders[sender] = true
				}
			}
		}
		for _, sender := range slices.Sorted(maps.Keys(senders)) {
			all = append(all, Kept{commands + "/" + sender, commands, sender, outboxOf(sender, commands)})
		}
	}
	return all
}

func outboxOf(sender, topic string) string {
	return "(SELECT partition, \"offset\", id, type, key, payload, metadata, created_at FROM " + sender + ".outbox WHERE topic = '" + topic + "') AS sent"
}
