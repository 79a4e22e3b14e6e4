package bus_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
)

// unit is a module that a test declares.
type unit struct {
	name      string
	publishes []bus.Event
	sends     []bus.Command
	handles   []bus.Subscription
}

func (u unit) Name() string                      { return u.name }
func (u unit) Publishes() []bus.Event            { return u.publishes }
func (u unit) Sends() []bus.Command              { return u.sends }
func (u unit) Subscriptions() []bus.Subscription { return u.handles }

type sold struct{ ID string }

func (sold) EventName() string { return "till.sold" }
func (s sold) Key() string     { return s.ID }

type refund struct{ ID string }

func (refund) CommandName() string { return "till.refund" }
func (r refund) Key() string       { return r.ID }

// named is an event, or a command, of any name. Its zero value has the name
// that the type parameter gives.
type name interface{ name() string }

type named[N name] struct{}

func (named[N]) EventName() string { var n N; return n.name() }
func (named[N]) Key() string       { return "k" }

type commanded[N name] struct{}

func (commanded[N]) CommandName() string { var n N; return n.name() }
func (commanded[N]) Key() string         { return "k" }

type noDot struct{}
type onlyDot struct{}
type ofTill struct{}
type longer struct{}
type capital struct{}
type escape struct{}
type endless struct{}

func (noDot) name() string   { return "till" }
func (onlyDot) name() string { return "till." }
func (ofTill) name() string  { return "till.sold" }
func (longer) name() string  { return "tills.sold" }
func (capital) name() string { return "till.Sold" }
func (escape) name() string  { return "till.\x1b[2J" }
func (endless) name() string { return "till." + strings.Repeat("a", 100) }

func onSold(context.Context, *bus.Tx, sold) error        { return nil }
func onAll(context.Context, *bus.Tx, bus.Received) error { return nil }
func act(context.Context, *bus.Tx, refund) error         { return nil }

func TestTopology_RefusesInvalidDeclarations(t *testing.T) {
	t.Parallel()
	till := unit{name: "till", publishes: []bus.Event{sold{}}}
	for wanted, modules := range map[string][]bus.Module{
		"command till.refund is sent by shop, but no module handles it": {till, unit{name: "shop", sends: []bus.Command{refund{}}}},
		"command till.refund is handled by till and by till": {
			unit{name: "till", handles: []bus.Subscription{bus.Handle(act), bus.Handle(act)}}},
		"command till.refund is handled by till and by shop": {
			unit{name: "till", handles: []bus.Subscription{bus.Handle(act)}}, unit{name: "shop", handles: []bus.Subscription{bus.Handle(act)}}},
		"only its owner, till, may":                             {unit{name: "shop", handles: []bus.Subscription{bus.Handle(act)}}},
		"subscribes to till.sold, which no module publishes":    {unit{name: "shop", handles: []bus.Subscription{bus.On(onSold)}}},
		"event till.sold is published by till and by shop":      {till, unit{name: "shop", publishes: []bus.Event{sold{}}}},
		`its name must start with "shop."`:                      {unit{name: "shop", publishes: []bus.Event{sold{}}}},
		"event till is published by till; its name must start":  {unit{name: "till", publishes: []bus.Event{named[noDot]{}}}},
		"event till. is published by till; its name must start": {unit{name: "till", publishes: []bus.Event{named[onlyDot]{}}}},
		"event tills.sold is published by till; its name must":  {unit{name: "till", publishes: []bus.Event{named[longer]{}}}},
		`"till.Sold": the name of a message is a–z`:             {unit{name: "till", publishes: []bus.Event{named[capital]{}}}},
		`"till.\x1b[2J": the name of a message is a–z`:          {unit{name: "till", publishes: []bus.Event{named[escape]{}}}},
		"at most 100 characters":                                {unit{name: "till", publishes: []bus.Event{named[endless]{}}}},
		"\"till.Sold\": the name of a message is":               {unit{name: "till", handles: []bus.Subscription{bus.Handle(func(context.Context, *bus.Tx, commanded[capital]) error { return nil })}}},
		"till.sold is an event of till and a command too": {till, unit{name: "till", publishes: []bus.Event{sold{}},
			handles: []bus.Subscription{bus.Handle(func(context.Context, *bus.Tx, commanded[ofTill]) error { return nil })}}},
		"module shop has two handlers for till.sold":      {till, unit{name: "shop", handles: []bus.Subscription{bus.On(onSold), bus.OnEvery(onAll)}}},
		"module shop: On[bus.Event]: name a message type": {till, unit{name: "shop", handles: []bus.Subscription{bus.On(func(context.Context, *bus.Tx, bus.Event) error { return nil })}}},
		"module till: Handle[bus.Command]: name a message type": {
			unit{name: "till", handles: []bus.Subscription{bus.Handle(func(context.Context, *bus.Tx, bus.Command) error { return nil })}}},
		"module till: Publishes lists a nil":             {unit{name: "till", publishes: []bus.Event{nil}}},
		"module till: Sends lists a nil":                 {unit{name: "till", sends: []bus.Command{nil}}},
		"module till is listed twice":                    {till, till},
		`module "": a name is`:                           {unit{}},
		`module "Till": a name is`:                       {unit{name: "Till"}},
		`module "4till": a name is`:                      {unit{name: "4till"}},
		`module "a-b": a name is`:                        {unit{name: "a-b"}},
		`module "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa": a`:    {unit{name: "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}},
		"module order: the name is the module's schema":  {unit{name: "order"}},
		"module user: the name is the module's schema":   {unit{name: "user"}},
		"module bus: the name is the module's schema":    {unit{name: "bus"}},
		"module public: the name is the module's schema": {unit{name: "public"}},
	} {
		_, err := bus.NewTopology(modules...)
		require.ErrorContains(t, err, wanted)
	}
}

func TestTopology_ErrorNamesAllFaults(t *testing.T) {
	t.Parallel()
	_, err := bus.NewTopology(unit{name: "Bad"}, unit{name: "shop", sends: []bus.Command{refund{}}, handles: []bus.Subscription{bus.On(onSold)}})
	require.ErrorContains(t, err, `module "Bad"`)
	require.ErrorContains(t, err, "no module handles it")
	require.ErrorContains(t, err, "which no module publishes")
}

func TestOnEvery_ReceivesAllEventsAndNoCommand(t *testing.T) {
	t.Parallel()
	topo, err := bus.NewTopology(
		unit{name: "till", publishes: []bus.Event{sold{}}, sends: []bus.Command{refund{}}, handles: []bus.Subscription{bus.Handle(act)}},
		unit{name: "archive", handles: []bus.Subscription{bus.OnEvery(onAll)}})
	require.NoError(t, err)
	require.Len(t, topo.SubscriptionsOf("archive"), 1)
	require.Equal(t, "till.sold", topo.SubscriptionsOf("archive")[0].Type)
	require.Equal(t, "till.events", topo.TopicOf("till.sold"))
	require.Equal(t, "till.commands", topo.TopicOf("till.refund"))
	require.Empty(t, topo.TopicOf("till.unknown"))
	require.Equal(t, []string{"till"}, topo.SendersOf("till.refund"))
	require.Equal(t, []string{"till.sold"}, topo.Events())
	require.Equal(t, []string{"till.refund"}, topo.Commands())
}

// A pointer to a message type is as good as the type, also a nil one in a list.
func TestTopology_TakesPointersToMessages(t *testing.T) {
	t.Parallel()
	topo, err := bus.NewTopology(
		unit{name: "till", publishes: []bus.Event{(*sold)(nil)}, sends: []bus.Command{(*refund)(nil)},
			handles: []bus.Subscription{bus.Handle(func(context.Context, *bus.Tx, *refund) error { return nil })}},
		unit{name: "shop", handles: []bus.Subscription{bus.On(func(context.Context, *bus.Tx, *sold) error { return nil })}})
	require.NoError(t, err)
	require.Equal(t, "till.sold", topo.SubscriptionsOf("shop")[0].Type)
	require.Equal(t, []string{"till.refund"}, topo.Commands())
}

func TestNewRouter_RefusesAModuleThatTheTransportDoesNotHost(t *testing.T) {
	t.Parallel()
	topo, err := bus.NewTopology(unit{name: "till", publishes: []bus.Event{sold{}}})
	require.NoError(t, err)
	_, err = bus.NewRouter(topo, []string{"till"}, func(string) message.Subscriber { return nil }, slog.New(slog.DiscardHandler), watermill.NopLogger{})
	require.ErrorContains(t, err, "module till: the transport has no subscriber for it")
}
