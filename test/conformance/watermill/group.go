package watermill

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"

	"millrace/platform/bus"
	"millrace/platform/errs"
	"millrace/test/conformance"
)

// face is the interface of the transport under test.
type face string

const (
	throughHandlers face = "through handlers" // a module's handler, behind the router and its middleware
	straight        face = "straight"         // message.Subscriber, as the router uses it
)

// groupProcess is a process that hosts one consumer group and passes the messages
// that it receives to the suite.
type groupProcess struct {
	face    face
	group   string
	topo    *bus.Topology
	process conformance.Process
	out     map[string]chan *message.Message // by topic; complete before messages are handled
	feeding sync.WaitGroup                   // the goroutines that write to out
	end     func() error                     // ends the subscriptions, or the router that has them
	closing chan struct{}
	closed  func() error
}

// startGroup starts the process of a group, without subscribing to anything.
func startGroup(p *place, group string) (_ *groupProcess, err error) {
	h := &groupProcess{face: p.face, group: group, out: map[string]chan *message.Message{}, closing: make(chan struct{})}
	h.closed = sync.OnceValue(h.shut)
	h.topo, err = bus.NewTopology(part{name: owner, publishes: p.events}, part{name: group, subscribes: []bus.Subscription{bus.OnEvery(h.handle)}})
	if err != nil {
		return nil, err
	}
	if h.process, err = p.open(h.topo, group); err != nil {
		return nil, err
	}
	h.end = h.process.Subscriber(group).Close
	return h, nil
}

// subscribe subscribes to one topic. Through handlers, the router starts when all
// declared topics are subscribed.
func (h *groupProcess) subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	if h.out[topic] != nil || h.topo.TopicOf(eventOf(topic)) == "" {
		return nil, errs.New(errs.Invalid, "topic %s is subscribed already, or not declared", topic)
	}
	out := make(chan *message.Message)
	h.out[topic] = out
	if h.face == straight {
		in, err := h.process.Subscriber(h.group).Subscribe(ctx, eventOf(topic))
		if err != nil {
			return nil, err
		}
		h.feeding.Go(func() { h.pass(in, out) })
		return out, nil
	}
	if len(h.out) == len(h.topo.Events()) {
		return out, h.startRouter()
	}
	return out, nil
}

// pass forwards the transport's messages to the suite, so that the suite acks and
// nacks the transport's own messages. It replaces their contents by the suite's.
func (h *groupProcess) pass(in <-chan *message.Message, out chan<- *message.Message) {
	for msg := range in {
		var e event
		if err := json.Unmarshal(msg.Payload, &e); err != nil {
			msg.Nack() // in each attempt: the suite then reports the message as missing
			continue
		}
		msg.UUID, msg.Metadata, msg.Payload = e.UUID, e.Metadata, e.Payload
		select {
		case out <- msg:
		case <-h.closing:
			msg.Nack()
		}
	}
}

// handle passes a message to the suite and returns the suite's answer.
func (h *groupProcess) handle(ctx context.Context, _ *bus.Tx, received bus.Received) error {
	var e event
	if err := json.Unmarshal(received.Data, &e); err != nil {
		return errs.As(errs.Undecodable, err)
	}
	msg := message.NewMessageWithContext(ctx, e.UUID, e.Payload)
	msg.Metadata = e.Metadata
	select {
	case h.out[strings.TrimPrefix(received.Type, owner+".")] <- msg:
	case <-h.closing:
		return errClosing
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-msg.Acked():
		return nil
	case <-msg.Nacked():
		return errNacked
	case <-h.closing:
		return errClosing
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (h *groupProcess) startRouter() error {
	router, err := bus.NewRouter(h.topo, []string{h.group}, h.process.Subscriber, slog.New(slog.DiscardHandler), watermill.NopLogger{})
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- router.Run(context.Background()) }()
	select {
	case <-router.Running():
	case err := <-done:
		return err
	}
	h.end = func() error { return errors.Join(router.Close(), <-done) }
	return nil
}

func (h *groupProcess) isClosed() bool {
	select {
	case <-h.closing:
		return true
	default:
		return false
	}
}

// close shuts the process down as the program does after SIGTERM. Messages that the
// suite has not answered stay for the next process. When close returns, the
// channels are closed.
func (h *groupProcess) close() error { return h.closed() }

func (h *groupProcess) shut() error {
	close(h.closing)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := errors.Join(h.process.Drain(ctx), h.end())
	fed := make(chan struct{})
	go func() { h.feeding.Wait(); close(fed) }()
	select {
	case <-fed:
	case <-ctx.Done():
		return errors.Join(err, errors.New("the subscriber is closed, but not its channels"), h.process.Close())
	}
	for _, out := range h.out {
		close(out)
	}
	return errors.Join(err, h.process.Close())
}
