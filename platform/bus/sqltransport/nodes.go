package sqltransport

import (
	"context"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"millrace/platform/bus/cluster"
	"millrace/platform/bus/store"
)

// Node returns the ID by which the other nodes know this process.
func (t *Transport) Node() uuid.UUID { return t.process }

// Expired lists the other nodes whose lease has expired in the last minute, and that did
// not end it.
func (t *Transport) Expired(ctx context.Context) ([]uuid.UUID, error) {
	return cluster.Expired(ctx, t.db, t.process)
}

func (t *Transport) members() (all []cluster.Member) {
	for _, s := range t.subscribers {
		all = append(all, s)
	}
	return all
}

// listener returns what wakes this node after the commits of others.
func (t *Transport) listener() *cluster.Listener {
	return &cluster.Listener{
		URL: t.cfg.URL, Node: t.process, Logger: t.cfg.Logger,
		Joined: func() {
			t.notifier.SawOther()
			t.lease.RenewSoon()
		},
		Changed: func(changes cluster.Changes) {
			t.notifier.SawOther()
			t.wake(changes)
		},
		Parked: t.pokeParked,
		Missed: t.wakeAll,
	}
}

// pokeParked has a partition's parked messages looked at.
func (t *Transport) pokeParked(subscriber, stream string, partition int) {
	if s := t.subscribers[subscriber]; s != nil && s.tasks[stream] != nil {
		s.queue.poke(&s.tasks[stream][partition])
	}
}

// The rest makes a subscriber a cluster.Member.

// Name is the subscriber's name in its offsets.
func (s *subscriber) Name() string { return s.module }

// Offsets is the table of its offsets.
func (s *subscriber) Offsets() string { return pq.QuoteIdentifier(s.schema) + ".offsets" }

// Working reports whether it takes messages.
func (s *subscriber) Working() bool { return s.isStarted() && !s.isStopping() }

// Subscriptions lists what it is sent.
func (s *subscriber) Subscriptions() (all []string) {
	for messageType := range s.channels {
		all = append(all, s.module+"/"+messageType)
	}
	if s.relay() {
		for stream := range s.tasks {
			all = append(all, s.module+"/"+store.TopicOf(stream))
		}
	}
	return all
}

// Streams lists what it reads.
func (s *subscriber) Streams() (all []string) {
	for stream := range s.tasks {
		all = append(all, stream)
	}
	return all
}

// Assigned returns which partitions it works on.
func (s *subscriber) Assigned(stream string) (all, releasing uint64) {
	for p := range s.tasks[stream] {
		claimed, release := s.queue.owns(&s.tasks[stream][p])
		if claimed {
			all |= 1 << p
		}
		if claimed && release {
			releasing |= 1 << p
		}
	}
	return all, releasing
}

// Assign starts work on a partition.
func (s *subscriber) Assign(stream string, partition int) {
	s.queue.claim(&s.tasks[stream][partition])
}

// Lost ends work on a partition: another node has it.
func (s *subscriber) Lost(stream string, partition int) {
	s.queue.lost(&s.tasks[stream][partition])
}

// Release gives a partition up after the batch in flight.
func (s *subscriber) Release(stream string, partition int) {
	s.queue.giveUp(&s.tasks[stream][partition])
}
