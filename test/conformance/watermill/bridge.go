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

// event is the bus event that carries a message of the suite.
type event struct {
	topic, key string
	UUID       string           `json:"uuid"`
	Metadata   message.Metadata `json:"metadata"`
	Payload    []byte           `json:"payload"`
}

func (e event) EventName() string { return eventOf(e.topic) }
func (e event) Key() string       { return e.key }

func eventOf(topic string) string { return owner + "." + topic }

// part is a module of a trial.
type part struct {
	name       string
	publishes  []bus.Event
	subscribes []bus.Subscription
}

func (p part) Name() string                      { return p.name }
func (p part) Publishes() []bus.Event            { return p.publishes }
func (p part) Sends() []bus.Command              { return nil }
func (p part) Subscriptions() []bus.Subscription { return p.subscribes }

// moduleName makes a valid module name of a consumer group's name, which ends in a UUID.
func moduleName(group string) string {
	var name []byte
	for _, c := range []byte("g" + group) {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
			name = append(name, c)
		}
	}
	return string(name[:min(len(name), 30)])
}

// publisher publishes the messages of a call in one transaction. All publishers of
// a trial use one process, the owner's. It runs until the trial ends, because on
// Kafka its relay must still send the messages.
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
				e := event{topic: topic, key: p.place.key(msg), UUID: msg.UUID, Metadata: msg.Metadata, Payload: msg.Payload}
				if err := tx.Publish(e); err != nil {
					return err
				}
			}
			return nil
		})
		// On a busy machine the lease may expire, and another process ends the transaction: retry.
		if err == nil || errs.KindOf(err) != errs.Resource || time.Now().After(deadline) {
			return err
		}
	}
}

func (p *publisher) Close() error {
	p.closed.Store(true)
	return nil
}

// subscriber runs a process for one consumer group. The process ends when the
// subscriber is closed or the context of a subscription ends; the next
// subscription starts another process.
type subscriber struct {
	place   *place
	group   string
	mu      sync.Mutex
	current *groupProcess
}

func (s *subscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil || s.current.isClosed() {
		h, err := startGroup(s.place, s.group)
		if err != nil {
			return nil, err
		}
		s.current = h
	}
	h := s.current
	context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		_ = h.close() // Close returns the same error
	})
	return h.subscribe(ctx, topic)
}

func (s *subscriber) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil {
		return nil
	}
	return s.current.close()
}

var (
	errNacked  = errors.New("the suite nacked the message")
	errClosing = errors.New("the subscriber is being closed")
)
