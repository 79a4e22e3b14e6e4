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

// face is the side of a transport that the suite looks at.
type face string

const (
	throughHandlers face = "through handlers" // a module's handler, behind the router and its chain
	straight        face = "straight"         // message.Subscriber, as the router sees it
)

// hearing is a process that hosts one group, and hands what it hears to the suite.
type hearing struct {
	face    face
	group   string
	topo    *bus.Topology
	process conformance.Process
	out     map[string]chan *message.Message // by topic; all are there before work begins
	feeding sync.WaitGroup                   // those who write to out
	end     func() error                     // ends the subscriptions, or the router that has them
	closing chan struct{}
	closed  func() error
}

func hear(p *place, group string) (_ *hearing, err error) {
	h := &hearing{face: p.face, group: group, out: map[string]chan *message.Message{}, closing: make(chan struct{})}
	h.closed = sync.OnceValue(h.shut)
	h.topo, err = bus.NewTopology(part{name: owner, says: p.events}, part{name: group, hears: []bus.Subscription{bus.OnEvery(h.handle)}})
	if err != nil {
		return nil, err
	}
	if h.process, err = p.open(h.topo, group); err != nil {
		return nil, err
	}
	h.end = h.process.Subscriber(group).Close
	return h, nil
}

// subscribe subscribes to one topic. Through handlers, the router starts with
// the last one.
func (h *hearing) subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
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

// pass hands over the transport's own messages: their Ack and Nack are its own.
// The suite's message is unpacked into them.
func (h *hearing) pass(in <-chan *message.Message, out chan<- *message.Message) {
	for msg := range in {
		var s said
		if err := json.Unmarshal(msg.Payload, &s); err != nil {
			msg.Nack() // for ever: the suite misses it
			continue
		}
		msg.UUID, msg.Metadata, msg.Payload = s.UUID, s.Metadata, s.Payload
		select {
		case out <- msg:
		case <-h.closing:
			msg.Nack()
		}
	}
}

// handle hands a message to the suite and answers what the suite answers.
func (h *hearing) handle(ctx context.Context, _ *bus.Tx, received bus.Received) error {
	var s said
	if err := json.Unmarshal(received.Data, &s); err != nil {
		return errs.As(errs.Undecodable, err)
	}
	msg := message.NewMessageWithContext(ctx, s.UUID, s.Payload)
	msg.Metadata = s.Metadata
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

func (h *hearing) startRouter() error {
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

func (h *hearing) isClosed() bool {
	select {
	case <-h.closing:
		return true
	default:
		return false
	}
}

// close ends the process as the program does at SIGTERM; a message that the
// suite did not answer is left for whoever comes next. The channels are closed
// when it returns.
func (h *hearing) close() error { return h.closed() }

func (h *hearing) shut() error {
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
