package work

import (
	"context"
	"log/slog"

	"millrace/platform/bus/store"
	"millrace/platform/errs"
)

// Readers are the readers of a node, by names that all nodes share: changes of a stream are
// reported under its reader's name.
type Readers map[string]*Reader

// Changed makes the groups read what was committed: the partitions, as bits, by the name of
// their reader.
func (r Readers) Changed(changes map[string]uint64) {
	for name, partitions := range changes {
		reader := r[name]
		if reader == nil {
			continue
		}
		for p := range store.Partitions {
			if partitions&(1<<p) != 0 {
				reader.touch(p)
			}
		}
	}
	r.Wake(changes)
}

// Wake wakes the groups that read what the readers have already.
func (r Readers) Wake(changes map[string]uint64) {
	for name, partitions := range changes {
		if reader := r[name]; reader != nil {
			reader.wake(partitions)
		}
	}
}

// ChangedAll makes the groups read everything: something may have been missed.
func (r Readers) ChangedAll() {
	all := map[string]uint64{}
	for name := range r {
		all[name] = ^uint64(0)
	}
	r.Changed(all)
}

// Offer gives a reader a record that was committed just now. False means that the reader does
// not take it, so that its groups have to be woken by Changed.
func (r Readers) Offer(name string, partition int, row store.Record) (taken bool) {
	reader := r[name]
	return reader != nil && reader.offer(partition, row)
}

// Poll finds what a lost notification missed.
func (r Readers) Poll(ctx context.Context, log *slog.Logger) {
	for name, reader := range r {
		changed, err := reader.poll(ctx)
		r.Changed(map[string]uint64{name: changed})
		if err != nil && ctx.Err() == nil {
			log.Warn("poll failed", "stream", name, "kind", errs.KindOf(err).String(), "error", err.Error())
		}
	}
}
