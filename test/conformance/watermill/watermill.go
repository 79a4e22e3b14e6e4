// Package watermill runs the tests that Watermill publishes for every Pub/Sub
// (github.com/ThreeDotsLabs/watermill/pubsub/tests) against a transport of
// package bus. Package conformance tests the bus's own guarantees; these tests check
// that a transport also behaves as Watermill's users expect.
//
// Run takes the factory that conformance.Run takes, so any transport's test can
// call it. Each test of the suite has a database of its own, and runs
//
//   - through handlers, as a module uses the bus. A topic of the suite is an event,
//     a consumer group is a module that subscribes to it, and the handler returns
//     the suite's answer: nil for Ack, an error for Nack. The router and all its
//     middleware are in between;
//   - straight: message.Subscriber alone, as the router uses it. Fewer tests can
//     run this way: without the middleware nothing handles a failed message.
//
// The suite assumes some things that the bus does differently. The trials adapt:
//
//   - The suite uses any name as a topic at any time. The bus declares messages at
//     the start, so each trial lists its topics and starts when all are subscribed.
//   - The suite's messages have no key. The bus refuses a message without one, so
//     the key is the message's UUID or, where the suite expects order, its payload.
//   - The suite's publisher sets ids and metadata. The bus sets its own, so the
//     suite's are part of the payload. (The suite's ids are not unique anyway: one
//     test publishes the same ids to twenty topics.)
//   - The suite subscribes again after a subscriber was cancelled. A transport
//     subscribes once, so a second subscription starts a new process.
//   - The suite expects a nacked message again immediately, without a limit. The bus
//     waits, and the message is dead after the last wait; the trials configure a
//     thousand short waits.
//
// trials.go lists the tests that do not run, each with a reason. A test compares
// both lists with the suite's source, so that a test that a new version of
// Watermill adds is noticed.
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

// World is the part of conformance.World that this suite needs.
type World interface {
	Migrate(ctx context.Context, topo *bus.Topology) error
	Open(ctx context.Context, topo *bus.Topology, hosted []string, o conformance.Options) (conformance.Process, error)
}

// atOnce is how many trials run concurrently: one has up to eleven processes with
// nine connections each, and the test server allows 300.
const atOnce = 2

// Run runs the suite. world makes the world whose modules' database is at url;
// a conformance.Factory does.
func Run[W World](t *testing.T, world func(url string) W) {
	slots := make(chan struct{}, atOnce)
	try := func(t *testing.T, tr trial, face face) {
		t.Run(string(face), func(t *testing.T) {
			t.Parallel()
			slots <- struct{}{}
			t.Cleanup(func() { <-slots }) // this cleanup runs last, after the processes have ended
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
		// Effects happen exactly once, but a message may be delivered more often.
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

// options has a long poll interval, so that no test passes by polling, and many
// waits, since the suite nacks one message a hundred times.
var options = conformance.Options{
	Poll:    time.Minute,
	Backoff: slices.Repeat([]time.Duration{time.Millisecond}, 1000),
}

// place is what the publishers and subscribers of one trial share.
type place struct {
	world  World
	events []bus.Event // one for each topic
	key    func(*message.Message) string
	face   face

	// hostOwner returns the process that hosts the events' owner; the first call
	// starts it.
	hostOwner func() (conformance.Process, error)

	mu       sync.Mutex
	migrated map[string]bool // modules whose process has migrated
}

func newPlace(t *testing.T, world World, tr trial, face face) *place {
	t.Helper()
	p := &place{world: world, key: tr.key, face: face, migrated: map[string]bool{}}
	for _, name := range tr.topics {
		p.events = append(p.events, event{topic: name})
	}
	p.hostOwner = sync.OnceValues(func() (conformance.Process, error) {
		topo, err := bus.NewTopology(part{name: owner, publishes: p.events})
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

// pubSub makes a publisher and a subscriber. The subscriber is a separate process
// that starts with the first subscription. It ends when it is closed, or with the
// test: one test of the suite leaves its subscribers open.
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

// patience bounds every wait.
const patience = 2 * time.Minute
