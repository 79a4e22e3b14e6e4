package watermill

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"millrace/platform/bus"
	"millrace/platform/errs"
)

// owner is the module that publishes all the suite's messages.
const owner = "suite"

// said is a message of the suite, as an event.
type said struct {
	topic, key string
	UUID       string           `json:"uuid"`
	Metadata   message.Metadata `json:"metadata"`
	Payload    []byte           `json:"payload"`
}

func (s said) EventName() string { return eventOf(s.topic) }
func (s said) Key() string       { return s.key }

func eventOf(topic string) string { return owner + "." + topic }

// part is a module of a trial.
type part struct {
	name  string
	says  []bus.Event
	hears []bus.Subscription
}

func (p part) Name() string                      { return p.name }
func (p part) Publishes() []bus.Event            { return p.says }
func (p part) Sends() []bus.Command              { return nil }
func (p part) Subscriptions() []bus.Subscription { return p.hears }

// moduleName makes a module of a consumer group, whose name ends in a UUID.
func moduleName(group string) string {
	var name []byte
	for _, c := range []byte("g" + group) {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
			name = append(name, c)
		}
	}
	return string(name[:min(len(name), 30)])
}

// publisher publishes what it is given, in one transaction a call. All
// publishers of a trial are one process: the owner's, which lives as long as the
// trial, since on some transports it must carry out what was said.
type publisher struct {
	place  *place
	closed atomic.Bool
}

func (p *publisher) Publish(topic string, messages ...*message.Message) error {
	if p.closed.Load() {
		return errs.New(errs.Shutdown, "the publisher is closed")
	}
	if len(messages) == 0 {
		return nil
	}
	process, err := p.place.hostOwner()
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(patience); ; {
		err := process.DB(owner).InTx(messages[0].Context(), func(tx *bus.Tx) error {
			for _, msg := range messages {
				event := said{topic: topic, key: p.place.key(msg), UUID: msg.UUID, Metadata: msg.Metadata, Payload: msg.Payload}
				if err := tx.Publish(event); err != nil {
					return err
				}
			}
			return nil
		})
		// On a busy machine the process may be taken for dead, and its transaction ended.
		if err == nil || errs.KindOf(err) != errs.Resource || time.Now().After(deadline) {
			return err
		}
	}
}

func (p *publisher) Close() error {
	p.closed.Store(true)
	return nil
}

// subscriber hosts a group, in a process that lives until the subscriber is
// closed or the context of a subscription ends. Subscribing after that starts
// another one.
type subscriber struct {
	place   *place
	group   string
	mu      sync.Mutex
	hearing *hearing
}

func (s *subscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hearing == nil || s.hearing.isClosed() {
		h, err := hear(s.place, s.group)
		if err != nil {
			return nil, err
		}
		s.hearing = h
	}
	h := s.hearing
	context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		_ = h.close() // Close tells the error again
	})
	return h.subscribe(ctx, topic)
}

func (s *subscriber) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hearing == nil {
		return nil
	}
	return s.hearing.close()
}

var (
	errNacked  = errors.New("the suite nacked the message")
	errClosing = errors.New("the subscriber is being closed")
)
