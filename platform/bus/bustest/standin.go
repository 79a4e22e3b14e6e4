package bustest

import (
	"cmp"
	"slices"
	"strings"

	"millrace/platform/bus"
)

// outside is the stand-in for the modules that send commands to the module.
const outside = "outside"

// standIn declares what another module would.
type standIn struct {
	name      string
	publishes []bus.Event
	sends     []bus.Command
	handles   []bus.Subscription
}

func (s *standIn) Name() string                      { return s.name }
func (s *standIn) Publishes() []bus.Event            { return s.publishes }
func (s *standIn) Sends() []bus.Command              { return s.sends }
func (s *standIn) Subscriptions() []bus.Subscription { return s.handles }

// named is a message of which only the name matters: a declaration.
type named string

func (n named) EventName() string   { return string(n) }
func (n named) CommandName() string { return string(n) }
func (n named) Key() string         { return "" }

// standIns returns stand-ins for the owners of all messages that the module handles
// and for the receivers of its commands.
func standIns(m bus.Module, hearing []bus.Event) []bus.Module {
	owners := map[string]*standIn{outside: {name: outside}}
	ownerOf := func(message string) *standIn {
		name, _, _ := strings.Cut(message, ".")
		if owners[name] == nil {
			owners[name] = &standIn{name: name}
		}
		return owners[name]
	}
	publish := func(event string) {
		owner := ownerOf(event)
		if owner.name != m.Name() && !slices.Contains(owner.publishes, bus.Event(named(event))) {
			owner.publishes = append(owner.publishes, named(event))
		}
	}
	for _, e := range hearing {
		publish(e.EventName())
	}
	for _, s := range m.Subscriptions() {
		switch {
		case s.Command:
			owners[outside].sends = append(owners[outside].sends, named(s.Type))
		case s.Type != "":
			publish(s.Type)
		}
	}
	for _, c := range m.Sends() {
		if owner := ownerOf(c.CommandName()); owner.name != m.Name() {
			owner.handles = append(owner.handles, bus.Subscription{Type: c.CommandName(), Command: true})
		}
	}
	delete(owners, m.Name())
	all := make([]bus.Module, 0, len(owners))
	for _, owner := range owners {
		all = append(all, owner)
	}
	slices.SortFunc(all, func(a, b bus.Module) int { return cmp.Compare(a.Name(), b.Name()) })
	return all
}
