package bus

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
)

// Module declares a module's name, and what it publishes, sends and handles. The
// declarations must not depend on whether the module is hosted here.
type Module interface {
	// Name is the module's schema, subscriber and topic prefix: a–z and 0–9,
	// a letter first, at most 30 characters, no word that SQL reserves, and
	// not "bus" or "public". It never changes.
	Name() string
	// Publishes lists the events it publishes, Sends the commands it sends (to
	// others or itself), as zero values.
	Publishes() []Event
	Sends() []Command
	// Subscriptions lists the events and commands that it handles.
	Subscriptions() []Subscription
}

// Topology is the whole product's checked map of messages: which module publishes
// or sends what, and which ones handle it. It does not change while the program runs.
type Topology struct {
	modules       []string
	published     map[string]string // event → owner
	handled       map[string]string // command → owner
	senders       map[string][]string
	subscriptions map[string][]Subscription // by module, OnEvery expanded
}

// NewTopology checks the declarations of all modules, hosted here or not, and
// reports every fault at once: an event published by two modules or under
// another's name, a command without an owner or with two handlers, a
// subscription to an event that nobody publishes, two handlers of one module
// for one event.
func NewTopology(modules ...Module) (*Topology, error) {
	t := &Topology{
		published: map[string]string{}, handled: map[string]string{},
		senders: map[string][]string{}, subscriptions: map[string][]Subscription{},
	}
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }

	named := func(message string) {
		if !ValidType(message) {
			fault("%q: the name of a message is a–z, 0–9, '.', '_' and '-', a letter or digit first, at most %d characters", message, MaxType)
		}
	}
	for _, m := range modules {
		name := m.Name()
		if !validName(name) {
			fault("module %q: a name is a–z and 0–9, a letter first, at most 30 characters", name)
		}
		if slices.Contains(reserved, name) {
			fault("module %s: the name is the module's schema, and this one is taken or reserved by SQL", name)
		}
		if slices.Contains(t.modules, name) {
			fault("module %s is listed twice", name)
		}
		t.modules = append(t.modules, name)
		for _, e := range m.Publishes() {
			e, ok := callable(e)
			if !ok {
				fault("module %s: Publishes lists a nil; it lists events as zero values", name)
				continue
			}
			if owner, ok := t.published[e.EventName()]; ok {
				fault("event %s is published by %s and by %s; an event has one owner", e.EventName(), owner, name)
			}
			if !ownedBy(e.EventName(), name) {
				fault("event %s is published by %s; its name must start with %q", e.EventName(), name, name+".")
			}
			named(e.EventName())
			t.published[e.EventName()] = name
		}
		for _, s := range m.Subscriptions() {
			if s.fault != "" {
				fault("module %s: %s", name, s.fault)
			}
			if !s.Command || s.fault != "" {
				continue
			}
			if owner, ok := t.handled[s.Type]; ok {
				fault("command %s is handled by %s and by %s; a command has exactly one handler", s.Type, owner, name)
			}
			if !ownedBy(s.Type, name) {
				fault("command %s is handled by %s; only its owner, %s, may", s.Type, name, ownerOf(s.Type))
			}
			named(s.Type)
			t.handled[s.Type] = name
		}
	}
	for _, name := range t.Commands() {
		if owner := t.published[name]; owner != "" {
			fault("%s is an event of %s and a command too; a name means one thing", name, owner)
		}
	}
	for _, m := range modules {
		for _, c := range m.Sends() {
			c, ok := callable(c)
			if !ok {
				fault("module %s: Sends lists a nil; it lists commands as zero values", m.Name())
				continue
			}
			t.senders[c.CommandName()] = append(t.senders[c.CommandName()], m.Name())
			if t.handled[c.CommandName()] == "" {
				fault("command %s is sent by %s, but no module handles it", c.CommandName(), m.Name())
			}
		}
		t.subscriptions[m.Name()] = t.expand(m, fault)
	}
	return t, errors.Join(faults...)
}

// expand replaces OnEvery by one subscription for each event there is.
func (t *Topology) expand(m Module, fault func(string, ...any)) []Subscription {
	var all []Subscription
	subscribed := map[string]bool{}
	add := func(s Subscription) {
		if subscribed[s.Type] {
			fault("module %s has two handlers for %s; one subscriber has one", m.Name(), s.Type)
		}
		subscribed[s.Type] = true
		all = append(all, s)
	}
	for _, s := range m.Subscriptions() {
		switch {
		case s.fault != "": // reported already
		case s.Command:
			add(s)
		case s.Type != "":
			if t.published[s.Type] == "" {
				fault("module %s subscribes to %s, which no module publishes", m.Name(), s.Type)
			}
			add(s)
		default:
			for _, event := range t.Events() {
				s.Type = event
				add(s)
			}
		}
	}
	return all
}

// Modules lists the names of all modules, in the order of the product's list.
func (t *Topology) Modules() []string { return slices.Clone(t.modules) }

// Events and Commands list the names of all messages, sorted.
func (t *Topology) Events() []string   { return sortedKeys(t.published) }
func (t *Topology) Commands() []string { return sortedKeys(t.handled) }

// SubscriptionsOf lists the events and commands that a module handles.
func (t *Topology) SubscriptionsOf(module string) []Subscription { return t.subscriptions[module] }

// SendersOf lists the modules that send a command.
func (t *Topology) SendersOf(command string) []string { return t.senders[command] }

// TopicOf returns the topic that carries a message: "<owner>.events" or
// "<owner>.commands". A name that nobody declared has none: "".
func (t *Topology) TopicOf(name string) string {
	if owner := t.published[name]; owner != "" {
		return EventsOf(owner)
	}
	if owner := t.handled[name]; owner != "" {
		return CommandsOf(owner)
	}
	return ""
}

// EventsOf and CommandsOf name a module's two topics.
func EventsOf(module string) string   { return module + ".events" }
func CommandsOf(module string) string { return module + ".commands" }

func (t *Topology) publishes(module, event string) bool { return t.published[event] == module }
func (t *Topology) sends(module, command string) bool {
	return slices.Contains(t.senders[command], module)
}

func ownerOf(message string) string {
	owner, _, _ := strings.Cut(message, ".")
	return owner
}

func ownedBy(message, module string) bool {
	rest, found := strings.CutPrefix(message, module+".")
	return found && rest != ""
}

// reserved are names that a schema cannot have without quotes (PostgreSQL 15,
// Appendix C: reserved, or reserved but for functions and types), and the two
// that have another use.
var reserved = append(strings.Fields(`
	all analyse analyze and any array as asc asymmetric authorization binary both case cast check collate collation
	column concurrently constraint create cross default deferrable desc distinct do else end except false fetch for
	foreign freeze from full grant group having ilike in initially inner intersect into is isnull join lateral leading
	left like limit localtime localtimestamp natural not notnull null offset on only or order outer overlaps placing
	primary references returning right select similar some symmetric table tablesample then to trailing true union
	unique user using variadic verbose when where window with`), "bus", "public")

func validName(name string) bool {
	if name == "" || len(name) > 30 || name[0] < 'a' {
		return false
	}
	for _, r := range name {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') {
			return false
		}
	}
	return true
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
