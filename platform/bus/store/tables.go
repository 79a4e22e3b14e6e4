package store

import (
	"maps"
	"slices"
	"strings"

	"millrace/platform/bus"
)

// Table returns the table of a topic: "payment.log" of "payment.events", "payment.queue"
// of "payment.commands". Module names are a–z and 0–9 (bus.NewTopology), so they need no
// quoting.
func Table(topic string) string {
	module, kind, _ := strings.Cut(topic, ".")
	if kind == "commands" {
		return module + ".queue"
	}
	return module + ".log"
}

// appendFunction returns the SQL function that appends to the topic's table.
func appendFunction(topic string) string {
	module, name, _ := strings.Cut(Table(topic), ".")
	return module + ".append_" + name
}

// TopicOf returns the topic of a stream. A stream is one numbered sequence of messages: a
// module's events ("payment.events"), the commands in its queue ("payment.commands"), or,
// through a bridge, one sender's commands to it ("payment.commands/delivery").
func TopicOf(stream string) string {
	topic, _, _ := strings.Cut(stream, "/")
	return topic
}

// OnPostgres is the transport of topics that no bridge carries, in the table bus.topics.
const OnPostgres = "postgres"

// Topics lists the topics of all modules.
func Topics(topo *bus.Topology) (all []string) {
	for _, module := range topo.Modules() {
		all = append(all, bus.EventsOf(module), bus.CommandsOf(module))
	}
	return all
}

// Kept is where the messages of a stream are stored, in the database of the module that
// published or sent them.
type Kept struct {
	Stream string // as offsets, inboxes and parked messages name it
	Topic  string
	Schema string // the module's in whose tables they are
	Table  string // for a FROM clause: partition, "offset", id, type, key, payload, metadata, created_at
}

// Everything lists where all messages of the topology are stored, whatever the transport:
// streams that the present one does not use are empty. Handled commands are pruned.
func Everything(topo *bus.Topology) (all []Kept) {
	for _, module := range topo.Modules() {
		events, commands := bus.EventsOf(module), bus.CommandsOf(module)
		all = append(all, Kept{events, events, module, Table(events)}, Kept{commands, commands, module, Table(commands)})
		senders := map[string]bool{}
		for _, command := range topo.Commands() {
			if topo.TopicOf(command) == commands {
				for _, sender := range topo.SendersOf(command) {
					senders[sender] = true
				}
			}
		}
		for _, sender := range slices.Sorted(maps.Keys(senders)) {
			all = append(all, Kept{commands + "/" + sender, commands, sender, OutboxOf(sender, commands)})
		}
	}
	return all
}

// OutboxOf returns, for a FROM clause, the commands to a topic in a sender's outbox.
func OutboxOf(sender, topic string) string {
	return "(SELECT partition, \"offset\", id, type, key, payload, metadata, created_at FROM " + sender + ".outbox WHERE topic = '" + topic + "') AS sent"
}
