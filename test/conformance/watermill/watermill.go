// Package watermill runs the tests that Watermill publishes for every Pub/Sub
// (github.com/ThreeDotsLabs/watermill/pubsub/tests) against a transport of
// package bus. Beside package conformance, which tries what the bus promises,
// they tell whether a transport does what whoever knows Watermill expects of it.
//
// Run takes the factory that conformance.Run takes, so any transport's test can
// call it. Each test of the suite has a database of its own, and runs
//
//   - through handlers: what a module's author meets. A topic of the suite is
//     an event, a consumer group is a module that hears it, and the handler
//     answers what the suite answers: Ack is nil, Nack is an error. The router
//     and its whole chain are in between;
//   - straight: message.Subscriber alone, as the router sees it. Fewer tests
//     fit: without the chain there is no verdict on what failed.
//
// The suite's assumptions that do not hold here, and what stands for them:
//
//   - Any name is a topic, at any time. Messages are declared at start here: each
//     trial lists its topics. Work begins when all of them are subscribed.
//   - A message has no key. One without a key is refused here: a message of the
//     suite is about itself, or, where the suite expects order, about its payload.
//   - The publisher gives ids and metadata. Here the bus does: the suite's
//     travel in the payload. (Its ids are not unique either: one test publishes
//     the same ids to twenty topics.)
//   - A subscriber can subscribe again after it was cancelled. Here a process
//     has one life: subscribing again is a new process.
//   - A message that was nacked comes again at once, for ever. Here it waits,
//     and is dead after the last wait; the trials set a thousand short waits.
//
// What is not run is in a list, with its reason (trials.go); a test compares the
// trials and that list with the suite's source, so that a test which an upgrade
// of Watermill adds is not overlooked.
package watermill

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/tests"
	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
	"millrace/platform/postgres/pgtest"
	"millrace/test/conformance"
)

// World is what is needed of a conformance.World.
type World interface {
	Migrate(ctx context.Context, topo *bus.Topology) error
	Open(ctx context.Context, topo *bus.Topology, hosted []string, o conformance.Options) (conformance.Process, error)
}

// atOnce is how many trials run at once: one has up to eleven processes, of nine
// connections each, and a test's server has 300.
const atOnce = 2

// Run runs the suite. world makes the world whose modules' database is at url;
// a conformance.Factory does.
func Run[W World](t *testing.T, world func(url string) W) {
	slots := make(chan struct{}, atOnce)
	try := func(t *testing.T, tr trial, face face) {
		t.Run(string(face), func(t *testing.T) {
			t.Parallel()
			slots <- struct{}{}
			t.Cleanup(func() { <-slots }) // the last: the processes have ended
			tr.run(t, newPlace(t, world(pgtest.URL(t)), tr, face))
		})
	}
	for _, tr := range trials {
		t.Run(tr.name(), func(t *testing.T) {
			t.Parallel()
			try(t, tr, throughHandlers)
			if tr.notStraight == "" {
				try(t, tr, straight)
			}
		})
	}
}

func (tr trial) run(t *testing.T, p *place) {
	t.Cleanup(func() { require.False(t, t.Skipped(), "the suite skipped it: exclude it, with a reason") })
	trying := tests.TestContext{TestID: tests.NewTestID(), Features: tests.Features{
		ConsumerGroups:                   true,
		GuaranteedOrder:                  true,
		Persistent:                       true,
		NewSubscriberReceivesOldMessages: true,
		// The recorded effect is exactly once; a delivery may be repeated.
		ExactlyOnceDelivery: false,
		ForceShort:          tr.short != "" || tr.heavy && p.face == straight,
		GenerateTopicFunc:   func(tests.TestContext) string { return topic },
	}}
	if tr.groups != nil {
		tr.groups(t, trying, p.pubSub)
		return
	}
	tr.test(t, trying, func(t *testing.T) (message.Publisher, message.Subscriber) {
		if tr.groupEach {
			return p.pubSub(t, tests.NewTestID().String())
		}
		return p.pubSub(t, "group")
	})
}

// options: nothing may depend on the fall-back poll; and the suite nacks one
// message a hundred times.
var options = conformance.Options{
	Poll:    time.Minute,
	Backoff: slices.Repeat([]time.Duration{time.Millisecond}, 1000),
}

// place is where the publishers and subscribers of one trial meet.
type place struct {
	world  World
	events []bus.Event // one for each topic
	key    func(*message.Message) string
	face   face

	// hostOwner starts the process that hosts the events' owner, when it is
	// first needed, and returns it.
	hostOwner func() (conformance.Process, error)

	mu       sync.Mutex
	migrated map[string]bool // hosts
}

func newPlace(t *testing.T, world World, tr trial, face face) *place {
	t.Helper()
	p := &place{world: world, key: tr.key, face: face, migrated: map[string]bool{}}
	for _, name := range tr.topics {
		p.events = append(p.events, said{topic: name})
	}
	p.hostOwner = sync.OnceValues(func() (conformance.Process, error) {
		topo, err := bus.NewTopology(part{name: owner, says: p.events})
		if err != nil {
			return nil, err
		}
		process, err := p.open(topo, owner)
		if err == nil {
			t.Cleanup(func() { require.NoError(t, process.Close()) })
		}
		return process, err
	})
	return p
}

// pubSub makes a publisher and a subscriber. The subscriber is a process of its
// own that starts when it is first used, and ends with the test at the latest:
// one test of the suite leaves its subscribers open.
func (p *place) pubSub(t *testing.T, group string) (message.Publisher, message.Subscriber) {
	sub := &subscriber{place: p, group: moduleName(group)}
	t.Cleanup(func() { require.NoError(t, sub.Close()) })
	return &publisher{place: p}, sub
}

// open starts a process that hosts one module of the topology.
func (p *place) open(topo *bus.Topology, host string) (conformance.Process, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.migrated[host] {
		if err := p.world.Migrate(ctx, topo); err != nil {
			return nil, err
		}
		p.migrated[host] = true
	}
	return p.world.Open(ctx, topo, []string{host}, options)
}

// patience bounds what must happen.
const patience = 2 * time.Minute
