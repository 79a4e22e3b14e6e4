package sqltransport

import (
	"maps"
	"slices"

	"millrace/platform/bus"
	"millrace/platform/bus/store"
)

// streams knows in which streams messages travel. Offsets belong to streams, so those in a
// module's events stay valid when the transport is changed.
type streams struct {
	topo    *bus.Topology
	bridged bool
}

// of returns the stream in which source publishes or sends messages of a topic.
func (s streams) of(topic, source string) string {
	if !s.bridged {
		return topic
	}
	return store.StreamOf(topic, source)
}

// subscribed lists the streams in which a module's messages arrive.
func (s streams) subscribed(module string) []string {
	found := map[string]bool{}
	for _, sub := range s.topo.SubscriptionsOf(module) {
		topic := s.topo.TopicOf(sub.Type)
		if !s.bridged || !sub.Command {
			found[topic] = true
		}
		for _, sender := range s.topo.SendersOf(sub.Type) {
			found[s.of(topic, sender)] = true
		}
	}
	if s.bridged {
		found[bus.CommandsOf(module)] = true // from producers that do not count
	}
	return slices.Collect(maps.Keys(found))
}

// published lists the streams in which a module publishes and sends.
func (s streams) published(module string) []string {
	found := map[string]bool{}
	for _, event := range s.topo.Events() {
		if s.topo.TopicOf(event) == bus.EventsOf(module) {
			found[bus.EventsOf(module)] = true
		}
	}
	for _, command := range s.topo.Commands() {
		if slices.Contains(s.topo.SendersOf(command), module) {
			found[s.of(s.topo.TopicOf(command), module)] = true
		}
	}
	return slices.Collect(maps.Keys(found))
}

// topics lists the topics of a module's subscriptions.
func (s streams) topics(module string) []string {
	return slices.Compact(slices.Sorted(maps.Values(s.types(module))))
}

// types returns the types to which a module subscribes, with their topics.
func (s streams) types(module string) map[string]string {
	all := map[string]string{}
	for _, sub := range s.topo.SubscriptionsOf(module) {
		all[sub.Type] = s.topo.TopicOf(sub.Type)
	}
	return all
}
