package engine

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"millrace/platform/bus/store"
	"millrace/platform/bus/work"
)

// partition is what the engine knows of a partition. It belongs to the worker that has it.
type partition struct {
	*work.Partition
	isolation
	parked map[string]bool // keys with parked messages
	due    bool            // parked messages are to be looked at
	timer  *time.Timer     // wakes it when the next retry is due
}

// processor handles what its subscriber reads.
type processor struct {
	cfg        Config
	offsets    *store.Offsets
	channels   map[string]chan *message.Message // the router's, by type
	group      *work.Group
	partitions map[string]*[store.Partitions]partition
	origin     origin
	pace       pace
}

func newProcessor(cfg Config, offsets *store.Offsets, channels map[string]chan *message.Message) *processor {
	p := &processor{cfg: cfg, offsets: offsets, channels: channels, partitions: map[string]*[store.Partitions]partition{}, origin: newOrigin(cfg)}
	p.pace.max = int64(cfg.BatchSize)
	p.pace.size.Store(p.pace.max)
	for stream := range cfg.Readers {
		p.partitions[stream] = &[store.Partitions]partition{}
	}
	return p
}

// step works on a partition: it releases it, handles parked messages that are due, and
// handles the next batch of its stream. While more partitions are ready than there are
// workers, short batches of several partitions share a transaction.
func (p *processor) step(w *work.Partition) {
	ctx := context.Background() // work in flight is finished, whatever is shut down
	t := p.of(w)
	room := p.pace.room()
	if t.LockTries() > 0 {
		room = 1
	}
	rows, more, err := p.next(ctx, t, room)
	switch {
	case err != nil:
		p.group.Fail(w, err)
	case len(rows) == 0:
		p.group.Resume(w)
		p.group.Done(w, more)
	default:
		p.handle(ctx, p.fill(ctx, []*part{{t: t, rows: rows}}, room-len(rows)))
	}
}

// of returns what the engine knows of a partition.
func (p *processor) of(w *work.Partition) *partition {
	t := &p.partitions[w.Stream][w.Number]
	if t.Partition == nil {
		t.Partition = w
	}
	return t
}

// next does what comes before a partition's stream, and reads that. more reports that parked
// messages are left.
func (p *processor) next(ctx context.Context, t *partition, limit int) (rows []store.Record, more bool, err error) {
	ready, loaded, parked, err := p.group.Prepare(ctx, t.Partition)
	t.due = t.due || parked
	if err != nil || !ready {
		return nil, false, err
	}
	if loaded != nil {
		t.parked = make(map[string]bool, len(loaded.ParkedKeys))
		for _, key := range loaded.ParkedKeys {
			t.parked[key] = true
		}
		t.due = len(loaded.ParkedKeys) > 0
		t.isolation.end()
	}
	if t.due {
		if err := p.retryParked(ctx, t); err != nil {
			return nil, false, err
		}
	}
	rows, err = p.read(ctx, t, limit)
	return rows, t.due, err
}

func (p *processor) read(ctx context.Context, t *partition, limit int) ([]store.Record, error) {
	rows, err := p.group.Read(ctx, t.Partition, limit)
	return p.origin.check(t.Stream, rows), err
}

// fill adds other partitions that are ready to a short batch.
func (p *processor) fill(ctx context.Context, parts []*part, room int) []*part {
	for room > 0 {
		other := p.group.Another(p.cfg.Workers, p.plain)
		if other == nil {
			break
		}
		t := p.of(other)
		rows, err := p.read(ctx, t, room)
		if err != nil {
			p.group.Fail(other, err)
			break
		}
		if len(rows) == 0 {
			p.group.Done(other, false)
			continue
		}
		parts = append(parts, &part{t: t, rows: rows})
		room -= len(rows)
	}
	return parts
}

// plain reports whether a partition that no worker has needs nothing but to be read.
func (p *processor) plain(w *work.Partition) bool {
	t := &p.partitions[w.Stream][w.Number]
	return !t.due && !t.isolation.active()
}

// handle handles a batch and gives its partitions back. A batch of several partitions that
// failed is repeated partition by partition: those in which something failed now, the others
// when a worker is free.
func (p *processor) handle(ctx context.Context, parts []*part) {
	err := p.attempt(ctx, parts)
	if len(parts) == 1 || !errors.Is(err, errRedo) && !errors.Is(err, store.ErrMoved) {
		for _, part := range parts {
			p.settle(part.t, err)
		}
		return
	}
	failed := slices.DeleteFunc(slices.Clone(parts), func(part *part) bool { return !part.t.isolation.active() && part.t.LockTries() == 0 })
	if len(failed) > 0 {
		for _, part := range parts {
			if !slices.Contains(failed, part) {
				p.group.Done(part.t.Partition, true)
			}
		}
		parts = failed
	}
	for _, one := range parts {
		p.settle(one.t, p.attempt(ctx, []*part{one}))
	}
}

// attempt handles a batch; one of a single partition until it is clear which of its messages
// fail: with each repetition one more is known.
func (p *processor) attempt(ctx context.Context, parts []*part) error {
	started := time.Now()
	err := p.runBatch(ctx, parts)
	for len(parts) == 1 && errors.Is(err, errRedo) && p.group.Working() {
		err = p.runBatch(ctx, parts)
	}
	p.pace.adapt(time.Since(started))
	return err
}

// settle gives a partition back after its batch.
func (p *processor) settle(t *partition, err error) {
	if errors.Is(err, errContended) {
		p.group.Done(t.Partition, true)
		return
	}
	p.group.Settle(t.Partition, err)
}

var (
	errRedo      = errors.New("the batch is repeated in isolation")
	errContended = errors.New("the batch and another one need the same locks")
)
