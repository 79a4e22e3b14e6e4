package admin

import (
	"slices"

	"millrace/platform/bus"
)

// Roles are the database roles of the modules, one each: <Prefix><module>. They
// are group roles without a login; a process that hosts a module signs in as a
// member of its role, and can use the other modules' tables as the topology
// requires, and no further:
//
//   - in its own schema it reads and writes the module's tables. It reads its
//     log, which nobody changes; the bus's other tables it changes as the bus
//     does, and it appends by the append functions;
//   - of a module to whose events it subscribes, it reads the log;
//   - of a module to which it sends commands, it calls the functions that append
//     to the queue. These run with their owner's rights: the queue itself stays
//     closed;
//   - in bus it writes leases and registrations. There are no messages there: a role
//     could disturb other processes, but not read what others publish. See
//     docs/security.md for what it can do.
//
// PostgreSQL has no rights on advisory locks and on notifications: a role can hold
// the publish locks, so that others wait (errors of kind Resource, no attempt is
// used up), and flood the channel, which costs every process reads and no memory.
//
// A module's own tables are found in the catalogue: what a later migration adds
// is covered by the next Grant.
type Roles struct {
	Prefix   string
	ReadOnly []string // tables of a module's schema that its role may only read: those of versions
}

// Of is the role of a module.
func (r Roles) Of(module string) string { return r.Prefix + module }

// The kinds of things, as GRANT names them.
const (
	aSchema   = "SCHEMA"
	aTable    = "TABLE"
	aSequence = "SEQUENCE"
	aRoutine  = "ROUTINE"
)

// thing is what one can have a right on.
type thing struct {
	oid    int64
	kind   string
	schema string
	name   string
	text   string // as GRANT takes it
}

// right is something that a module's role may do.
type right struct {
	thing
	verb   string
	column string // of UPDATE, or ""
}

var versions = []string{"bus_version"}

// inBus are the rights of every module's role on the shared tables. The bridge
// records the IDs of topics.
var inBus = map[string][]string{
	"topics":        {"SELECT"}, // RegisterTopics writes them
	"registrations": {"SELECT", "INSERT"},
	"nodes":         {"SELECT", "INSERT", "UPDATE", "DELETE"},
	"bus_version":   {"SELECT"},
}

// inOwn are the rights of a module's role on its part of the bus, whichever way
// messages travel.
var inOwn = map[string][]string{
	"log":             {"SELECT"}, // appended by append_log
	"queue":           {"SELECT", "DELETE"},
	"offsets":         {"SELECT", "INSERT", "UPDATE"},
	"inbox":           {"SELECT", "INSERT", "DELETE"},
	"parked_messages": {"SELECT", "INSERT", "UPDATE", "DELETE"},
	"outbox":          {"SELECT", "INSERT", "DELETE"},
	"inbound":         {"SELECT", "INSERT", "DELETE"},
	"checkpoints":     {"SELECT", "INSERT", "UPDATE"},
}

// rights lists what a module's role may do with the things that there are.
func (r Roles) rights(topo *bus.Topology, module string, things []thing) (all []right) {
	subscribes, sends := peers(topo, module)
	for _, t := range things {
		var verbs []string
		switch {
		case t.kind == aSchema:
			if t.schema == "bus" || t.schema == module || subscribes[t.schema] || sends[t.schema] {
				verbs = []string{"USAGE"}
			}
		case t.schema == "bus":
			verbs = inBus[t.name]
			if t.kind == aRoutine && (t.name == "lock" || t.name == "check_deferred") {
				verbs = []string{"EXECUTE"}
			}
			if t.name == "topics" {
				all = append(all, right{t, "UPDATE", "topic_id"})
			}
		case t.schema == module:
			verbs = r.own(t)
		case t.kind == aTable && t.name == "log" && subscribes[t.schema],
			t.kind == aTable && slices.Contains(versions, t.name) && (subscribes[t.schema] || sends[t.schema]):
			verbs = []string{"SELECT"}
		case t.kind == aRoutine && (t.name == "append_queue" || t.name == "append_queue_one") && sends[t.schema]:
			verbs = []string{"EXECUTE"}
		}
		for _, verb := range verbs {
			all = append(all, right{thing: t, verb: verb})
		}
	}
	return all
}

// own are the rights on a thing in the module's own schema.
func (r Roles) own(t thing) []string {
	switch {
	case t.kind == aRoutine:
		return []string{"EXECUTE"}
	case t.kind == aSequence:
		return []string{"USAGE"}
	case slices.Contains(versions, t.name) || slices.Contains(r.ReadOnly, t.name):
		return []string{"SELECT"}
	case inOwn[t.name] != nil:
		return inOwn[t.name]
	}
	return []string{"SELECT", "INSERT", "UPDATE", "DELETE"}
}

// peers are the other modules to whose events a module subscribes, and those to
// which it sends commands.
func peers(topo *bus.Topology, module string) (subscribes, sends map[string]bool) {
	subscribes, sends = map[string]bool{}, map[string]bool{}
	topics := map[string]bool{}
	for _, s := range topo.SubscriptionsOf(module) {
		topics[topo.TopicOf(s.Type)] = true
	}
	for _, command := range topo.Commands() {
		if slices.Contains(topo.SendersOf(command), module) {
			topics[topo.TopicOf(command)] = true
		}
	}
	for _, other := range topo.Modules() {
		subscribes[other] = other != module && topics[bus.EventsOf(other)]
		sends[other] = other != module && topics[bus.CommandsOf(other)]
	}
	return subscribes, sends
}
