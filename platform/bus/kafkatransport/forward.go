package kafkatransport

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"millrace/platform/bus/store"
	"millrace/platform/errs"
	"millrace/platform/failpoint"
)

// forwarder is the way out: it hands rows to the brokers. It is the kernel's
// relay.Bridge.
type forwarder struct {
	limit  time.Duration
	log    *slog.Logger
	send   sender
	closed chan struct{}
	once   sync.Once

	deliveries sync.WaitGroup // calls of send
	mu         sync.Mutex
	closing    bool
	sending    map[lane]*batch
	failing    map[lane]failure // what the brokers refused, or did not take in time
	sent       int64
}

// sender is a publisher. close must not be called during publish.
type sender interface {
	publish(rows []store.Row) (confirmed int, err error)
	close() error
}

// lane is what is sent in order.
type lane struct {
	topic, source string
	partition     int
}

// batch is on its way to the brokers, and may be for as long as they are away:
// the library's producer cannot be called back.
type batch struct {
	first     uuid.UUID
	since     time.Time
	done      chan struct{} // closed once the rest is known
	confirmed int
	err       error
}

type failure struct {
	since time.Time
	why   error
}

func newForwarder(cfg Config) (*forwarder, error) {
	send, err := newPublisher(cfg)
	if err != nil {
		return nil, err
	}
	return &forwarder{
		limit: cfg.SendTimeout, log: cfg.Logger, send: send,
		closed: make(chan struct{}), sending: map[lane]*batch{}, failing: map[lane]failure{},
	}, nil
}

// Name is what the registry of topics calls this carrier.
func (f *forwarder) Name() string { return "kafka" }

// Forward sends rows of one lane. It returns in SendTimeout at most; what was
// sent then stays on its way, and the next call for the lane waits for it
// rather than send more.
func (f *forwarder) Forward(ctx context.Context, rows []store.Row) (confirmed int, err error) {
	if len(rows) == 0 {
		return 0, nil
	}
	limit := time.NewTimer(f.limit)
	defer limit.Stop()
	l := lane{rows[0].Topic, rows[0].Source, rows[0].Partition}
	for {
		b, mine := f.begin(l, rows)
		select {
		case <-b.done:
		case <-limit.C:
			err := errs.New(errs.Resource, "%s is blocked since %s: the brokers have not confirmed", l, b.since.Format(time.RFC3339))
			f.fail(l, b.since, err)
			return 0, err
		case <-ctx.Done():
			return 0, errs.As(errs.Shutdown, ctx.Err())
		case <-f.closed:
			return 0, errs.New(errs.Shutdown, "the transport is closed")
		}
		if !mine && b.first != rows[0].ID {
			continue // it was about other rows; those of a lane never change, so the same first one means the same ones
		}
		return f.end(l, b, len(rows))
	}
}

// begin sends the rows, or finds what the lane is waiting for.
func (f *forwarder) begin(l lane, rows []store.Row) (b *batch, mine bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if b := f.sending[l]; b != nil {
		return b, false
	}
	b = &batch{first: rows[0].ID, since: time.Now(), done: make(chan struct{})}
	if f.closing {
		b.err = errs.New(errs.Shutdown, "the transport is closed")
		close(b.done)
		return b, true
	}
	f.sending[l] = b
	f.deliveries.Go(func() {
		failpoint.Here("forward.before_send")
		b.confirmed, b.err = f.send.publish(rows)
		failpoint.Here("forward.acknowledged")
		f.mu.Lock()
		defer f.mu.Unlock()
		f.sent += int64(b.confirmed)
		delete(f.sending, l)
		close(b.done)
	})
	return b, true
}

func (f *forwarder) end(l lane, b *batch, rows int) (confirmed int, err error) {
	confirmed = min(b.confirmed, rows)
	if confirmed == rows || b.err == nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.failing, l)
		return confirmed, nil
	}
	if errs.KindOf(b.err) == errs.Shutdown {
		return confirmed, b.err
	}
	f.fail(l, b.since, b.err)
	return confirmed, errs.As(errs.Resource, b.err)
}

func (f *forwarder) fail(l lane, since time.Time, why error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if known, ok := f.failing[l]; ok {
		since = known.since
	}
	f.failing[l] = failure{since, why}
}

// blocked lists the lanes that have made no progress for longer than limit.
func (f *forwarder) blocked(limit time.Duration) (all []failure) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for l, failed := range f.failing {
		if time.Since(failed.since) >= limit {
			all = append(all, failure{failed.since, errs.New(errs.Resource, "%s: nothing is sent since %s: %w", l, failed.since.Format(time.RFC3339), failed.why)})
		}
	}
	return all
}

func (l lane) String() string {
	return fmt.Sprintf("%s of %s, partition %d", l.topic, l.source, l.partition)
}

// close waits for the rows on their way, but not longer than limit. Rows that are
// not confirmed then are sent again by the lane's next owner. The publisher is
// closed when its last call has returned, which may be a minute later.
func (f *forwarder) close(limit time.Duration) {
	f.once.Do(func() {
		f.mu.Lock()
		f.closing = true
		f.mu.Unlock()
		close(f.closed)
		done := make(chan struct{})
		go func() {
			defer close(done)
			f.deliveries.Wait()
			if err := f.send.close(); err != nil {
				f.log.Debug("the producer ended with an error", "error", err.Error())
			}
		}()
		timer := time.NewTimer(limit)
		defer timer.Stop()
		select {
		case <-done:
		case <-timer.C:
			f.log.Warn("the brokers do not answer: what was on its way to them is sent again at the next start")
		}
	})
}
