package kafkabridge

import (
	"errors"
	"sync"
	"time"

	"millrace/platform/errs"
)

// failure is an error that lasts, and when it began.
type failure struct {
	since time.Time
	err   error
}

// unavailable is the error of all failures. Its Since is the earliest.
type unavailable struct {
	error
	since time.Time
}

func (u *unavailable) Since() time.Time { return u.since }
func (u *unavailable) Unwrap() error    { return u.error }

// joined returns one error of all failures, nil if there is none.
func joined(all []failure) error {
	if len(all) == 0 {
		return nil
	}
	u := &unavailable{since: all[0].since}
	failed := make([]error, len(all))
	for i, one := range all {
		failed[i] = one.err
		if one.since.Before(u.since) {
			u.since = one.since
		}
	}
	u.error = errors.Join(failed...)
	return u
}

// health is what prevents a consumer from receiving.
type health struct {
	mu      sync.Mutex
	failing failure                    // of the whole consumer
	stalled map[topicPartition]failure // of single partitions
}

// fail records an error that stops the consumer. It lasts until succeed.
func (h *health) fail(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.failing.err == nil {
		h.failing.since = time.Now()
	}
	h.failing.err = err
}

// succeed records that the consumer works again.
func (h *health) succeed() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failing = failure{}
}

// isFailing reports whether an error stops the consumer.
func (h *health) isFailing() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.failing.err != nil
}

// stall records that a partition makes no progress, move that it does.
func (h *health) stall(p topicPartition, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, known := h.stalled[p]; known {
		return
	}
	if h.stalled == nil {
		h.stalled = map[topicPartition]failure{}
	}
	h.stalled[p] = failure{time.Now(), err}
}

func (h *health) move(p topicPartition) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.stalled, p)
}

// failures lists what has prevented the module's consumer from receiving: an error that
// stops all of it for longer than limit, and each partition that is stalled.
func (h *health) failures(module string, limit time.Duration) (all []failure) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.failing.err != nil && time.Since(h.failing.since) >= limit {
		all = append(all, failure{h.failing.since,
			errs.New(errs.Resource, "module %s receives nothing since %s: %w", module, h.failing.since.Format(time.RFC3339), h.failing.err)})
	}
	for p, f := range h.stalled {
		all = append(all, failure{f.since, errs.New(errs.Resource, "module %s, %s: %w", module, p, f.err)})
	}
	return all
}
