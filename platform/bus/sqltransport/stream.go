package sqltransport

import (
	"context"
	"maps"
	"slices"
	"strings"

	"millrace/platform/bus"
	"millrace/platform/bus/store"
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
	Forward(ctx context.Context, rows []store.Row) (confirmed int, err error)
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
		name, from := stream, store.Table(stream)
		topic, source, sent := strings.Cut(stream, "/")
		ours := stream == bus.CommandsOf(s.schema) || s.relay()
		switch {
		case t.cfg.Carrier == nil, ours && !sent:
		case ours:
			from = store.OutboxOf(source, topic)
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
