package engine

import (
	"sync/atomic"
	"time"
)

const (
	batchTarget  = 100 * time.Millisecond // a batch that takes longer makes the next ones shorter
	singlePeriod = 10 * time.Second       // batches of one message after contention
)

// pace is how many messages a batch may have: fewer while batches take long.
type pace struct {
	max    int64
	size   atomic.Int64
	single atomic.Int64 // batches of one message until then, in Unix milliseconds
}

// room returns how many messages the next batch may have.
func (p *pace) room() int {
	if time.Now().UnixMilli() < p.single.Load() {
		return 1
	}
	return int(p.size.Load())
}

// adapt keeps batches short.
func (p *pace) adapt(took time.Duration) {
	size := p.size.Load()
	switch {
	case took > batchTarget && size > 1:
		p.size.CompareAndSwap(size, size/2)
	case took < batchTarget/4 && size < p.max:
		p.size.CompareAndSwap(size, min(size*2, p.max))
	}
}

// slow starts again with a batch of one message.
func (p *pace) slow() { p.size.Store(1) }

// contended makes batches of one message for a while.
func (p *pace) contended() { p.single.Store(time.Now().Add(singlePeriod).UnixMilli()) }
