package work

import "millrace/platform/bus/store"

// Assignment has the partitions of a group's streams, and knows which of them are assigned to
// this node. With its group's name it is a cluster.Member.
type Assignment struct {
	queue   *Queue
	streams map[string]*[store.Partitions]Partition
}

func newAssignment(queue *Queue) *Assignment {
	return &Assignment{queue, map[string]*[store.Partitions]Partition{}}
}

func (a *Assignment) add(stream string) {
	partitions := &[store.Partitions]Partition{}
	for n := range partitions {
		partitions[n] = Partition{Stream: stream, Number: n}
	}
	a.streams[stream] = partitions
}

// Streams lists what the group reads.
func (a *Assignment) Streams() (all []string) {
	for stream := range a.streams {
		all = append(all, stream)
	}
	return all
}

// Has reports whether the group reads a stream.
func (a *Assignment) Has(stream string) bool { return a.streams[stream] != nil }

// Assigned returns the partitions on which the group works, as bits, and those of them that
// it is about to release.
func (a *Assignment) Assigned(stream string) (all, releasing uint64) {
	partitions := a.streams[stream]
	if partitions == nil {
		return 0, 0
	}
	a.queue.look(func() {
		for n := range partitions {
			if p := &partitions[n]; p.assigned {
				all |= 1 << n
				if p.release {
					releasing |= 1 << n
				}
			}
		}
	})
	return all, releasing
}

// Assign starts work on a partition. What was known of it is read again.
func (a *Assignment) Assign(stream string, partition int) {
	p := &a.streams[stream][partition]
	a.queue.change(p, func() { p.assigned, p.release, p.reload = true, false, true })
}

// Release asks for a partition to be released after the step in progress.
func (a *Assignment) Release(stream string, partition int) {
	p := &a.streams[stream][partition]
	a.queue.change(p, func() { p.release = true })
}

// Lost ends work on a partition: another node has it.
func (a *Assignment) Lost(stream string, partition int) { a.lost(&a.streams[stream][partition]) }

func (a *Assignment) lost(p *Partition) {
	a.queue.look(func() { p.assigned, p.release = false, false })
}

// Wake wakes partitions of a stream, given as bits.
func (a *Assignment) Wake(stream string, partitions uint64) {
	all := a.streams[stream]
	if all == nil {
		return
	}
	for n := range all {
		if partitions&(1<<n) != 0 {
			a.queue.wake(&all[n])
		}
	}
}

// CheckParked has the parked messages of a partition looked at. A stream that the group does
// not read is ignored.
func (a *Assignment) CheckParked(stream string, partition int) {
	if all := a.streams[stream]; all != nil {
		p := &all[partition]
		a.queue.change(p, func() { p.parked = true })
	}
}

// Reload has the committed offset of a partition read again.
func (a *Assignment) Reload(stream string, partition int) {
	if all := a.streams[stream]; all != nil {
		p := &all[partition]
		a.queue.change(p, func() { p.reload = true })
	}
}

// flags are what a worker must know of a partition before its step.
type flags struct{ assigned, release, parked, reload bool }

// flagsOf returns a partition's flags, and resets what the worker now does.
func (a *Assignment) flagsOf(p *Partition) (f flags) {
	a.queue.look(func() {
		f = flags{p.assigned, p.release, p.parked, p.reload}
		p.parked, p.reload = false, false
	})
	return f
}
