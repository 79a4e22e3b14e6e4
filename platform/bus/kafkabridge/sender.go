package kafkabridge

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"millrace/platform/bus/store"
	"millrace/platform/errs"
	"millrace/platform/failpoint"
)

// sender sends the relays' rows to the brokers. Rows of one outgoing partition are sent in
// order, one batch after the other.
type sender struct {
	timeout  time.Duration
	log      *slog.Logger
	producer producer
	closed   chan struct{}
	once     sync.Once
	sent     atomic.Int64

	calls   sync.WaitGroup // of the producer
	mu      sync.Mutex
	closing bool
	sending map[flight]*batch
	failing map[outgoing]failure // what the brokers refused, or did not acknowledge in time
}

// producer is a publisher. close must not be called during publish.
type producer interface {
	publish(rows []store.Row) (confirmed int, err error)
	close() error
}

// outgoing is a partition of what a module publishes or sends.
type outgoing struct {
	topic, source string
	partition     int
}

func (o outgoing) String() string {
	return fmt.Sprintf("%s of %s, partition %d", o.topic, o.source, o.partition)
}

// flight is what one batch at a time may be on its way for. A topic that was deleted and
// created again has another ID: what the brokers acknowledge of a batch that began before
// may be lost with the first topic, so nothing waits for it.
type flight struct {
	outgoing
	topicID string
}

// batch is a call of the producer. While the brokers are away it may take long: the client
// library cannot cancel it.
type batch struct {
	first     uuid.UUID
	since     time.Time
	done      chan struct{} // closed when the rest is known
	confirmed int
	err       error
}

func newSender(cfg Config) (*sender, error) {
	p, err := newPublisher(cfg)
	if err != nil {
		return nil, err
	}
	return &sender{
		timeout: cfg.SendTimeout, log: cfg.Logger, producer: p,
		closed: make(chan struct{}), sending: map[flight]*batch{}, failing: map[outgoing]failure{},
	}, nil
}

// Forward sends rows of one partition. It returns after SendTimeout at the latest. The batch
// remains on its way then, and the next call for the partition waits for it, and sends
// nothing more meanwhile.
func (s *sender) Forward(ctx context.Context, rows []store.Row) (confirmed int, err error) {
	if len(rows) == 0 {
		return 0, nil
	}
	limit := time.NewTimer(s.timeout)
	defer limit.Stop()
	o := outgoing{rows[0].Topic, rows[0].Source, rows[0].Partition}
	for {
		b, mine := s.begin(o, rows)
		select {
		case <-b.done:
		case <-limit.C:
			err := errs.New(errs.Resource, "send %s: broker unavailable since %s: no acknowledgement", o, b.since.Format(time.RFC3339))
			s.fail(o, b.since, err)
			return 0, err
		case <-ctx.Done():
			return 0, errs.As(errs.Shutdown, ctx.Err())
		case <-s.closed:
			return 0, errClosed()
		}
		if !mine && b.first != rows[0].ID {
			continue // the batch had other rows; rows never change, so the same first row means the same batch
		}
		return s.end(o, b, len(rows))
	}
}

func errClosed() error { return errs.New(errs.Shutdown, "the Kafka producer is closed") }

// begin sends the rows, or returns the batch for which the partition waits.
func (s *sender) begin(o outgoing, rows []store.Row) (b *batch, mine bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := flight{o, rows[0].TopicID}
	if b := s.sending[f]; b != nil {
		return b, false
	}
	b = &batch{first: rows[0].ID, since: time.Now(), done: make(chan struct{})}
	if s.closing {
		b.err = errClosed()
		close(b.done)
		return b, true
	}
	s.sending[f] = b
	s.calls.Go(func() {
		failpoint.Here("forward.before_send")
		b.confirmed, b.err = s.producer.publish(rows)
		failpoint.Here("forward.acknowledged")
		s.mu.Lock()
		defer s.mu.Unlock()
		s.sent.Add(int64(b.confirmed))
		delete(s.sending, f)
		close(b.done)
	})
	return b, true
}

// end returns the result of a batch to the relay.
func (s *sender) end(o outgoing, b *batch, rows int) (confirmed int, err error) {
	confirmed = min(b.confirmed, rows)
	if confirmed == rows || b.err == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.failing, o)
		return confirmed, nil
	}
	if errs.KindOf(b.err) == errs.Shutdown {
		return confirmed, b.err
	}
	s.fail(o, b.since, b.err)
	return confirmed, errs.As(errs.Resource, b.err)
}

func (s *sender) fail(o outgoing, since time.Time, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known, ok := s.failing[o]; ok {
		since = known.since
	}
	s.failing[o] = failure{since, err}
}

// failures lists the partitions that have made no progress for longer than limit.
func (s *sender) failures(limit time.Duration) (all []failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for o, f := range s.failing {
		if time.Since(f.since) >= limit {
			all = append(all, failure{f.since, errs.New(errs.Resource, "%s: nothing sent since %s: %w", o, f.since.Format(time.RFC3339), f.err)})
		}
	}
	return all
}

// close waits for batches on their way, but not longer than limit. Rows that are not
// acknowledged then are sent again by the next owner of their partition. The producer is
// closed when its last call has returned, which may be a minute later.
func (s *sender) close(limit time.Duration) {
	s.once.Do(func() {
		s.mu.Lock()
		s.closing = true
		s.mu.Unlock()
		close(s.closed)
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.calls.Wait()
			if err := s.producer.close(); err != nil {
				s.log.Debug("producer closed with an error", "error", err.Error())
			}
		}()
		timer := time.NewTimer(limit)
		defer timer.Stop()
		select {
		case <-done:
		case <-timer.C:
			s.log.Warn("producer not closed in time: broker unavailable", "timeout", limit, "help", "unacknowledged messages are sent again after the next start")
		}
	})
}
