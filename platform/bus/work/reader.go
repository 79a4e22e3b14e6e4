package work

import (
	"context"
	"sync"
	"sync/atomic"

	"millrace/platform/bus/store"
)

// A window keeps a partition's newest rows for the groups of this node. A page is what one
// query fetches; it is at most one record larger than windowBytes.
const (
	windowRows  = 256
	windowBytes = 256 << 10
	pageRows    = 64
)

// Reader reads one stream for all its groups on this node: a record is fetched once, by the
// group that needs it first. A group that is far behind reads past the window, directly.
type Reader struct {
	source  *store.Source
	page    int // records in one query
	woken   []woken
	windows [store.Partitions]window
	polled  [store.Partitions]int64 // the newest record at the last poll
}

// woken is a group that reads the stream.
type woken struct {
	partitions *Assignment
	stream     string
}

type window struct {
	dirty atomic.Bool // something may have been committed behind the last row

	mu    sync.Mutex
	rows  []store.Record // contiguous offsets
	next  int64          // the offset after the last row
	bytes int
	asked int64 // the offset of the group that asked last
}

// NewReader returns a reader that fetches pages of up to so many records; 0 means 64.
func NewReader(source *store.Source, page int) *Reader {
	if page == 0 {
		page = pageRows
	}
	r := &Reader{source: source, page: page}
	for p := range r.windows {
		r.windows[p].dirty.Store(true)
	}
	return r
}

func (r *Reader) wakes(a *Assignment, stream string) { r.woken = append(r.woken, woken{a, stream}) }

// wake wakes the groups that read the partitions, given as bits.
func (r *Reader) wake(partitions uint64) {
	for _, g := range r.woken {
		g.partitions.Wake(g.stream, partitions)
	}
}

// touch records that something was committed to the partition. It must come before wake. It
// does not wait: a request calls it after its commit, and a read may be waiting for the
// database.
func (r *Reader) touch(partition int) { r.windows[partition].dirty.Store(true) }

// reset empties a partition's window.
func (r *Reader) reset(partition int) {
	w := &r.windows[partition]
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rows, w.bytes, w.next = nil, 0, 0
	w.dirty.Store(true)
}

// offer adds a record that was committed just now to the window of its partition's one group,
// if it is the next one, so that it need not be read back. If it is not, or somebody reads at
// this moment, or a page waits already, it returns false: then the caller touches instead.
func (r *Reader) offer(partition int, row store.Record) (taken bool) {
	w := &r.windows[partition]
	if !w.mu.TryLock() {
		return false
	}
	defer w.mu.Unlock()
	w.forget(w.asked)
	if row.Offset < w.next { // it was read meanwhile
		return true
	}
	if w.next == 0 || row.Offset > w.next || len(w.rows) >= pageRows || w.bytes >= windowBytes {
		return false
	}
	w.rows = append(w.rows, row)
	w.bytes += len(row.Payload)
	w.next++
	return true
}

// After returns up to limit records behind an offset, in order. None means that there are
// none, and that the group is woken when there are.
func (r *Reader) After(ctx context.Context, partition int, offset int64, limit int) ([]store.Record, error) {
	w := &r.windows[partition]
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = offset
	if len(r.woken) == 1 { // nobody else needs what is handled
		w.forget(offset)
	}
	first := w.next - int64(len(w.rows))
	if len(w.rows) > 0 && offset+1 < first { // a group that is far behind
		rows, _, err := r.fetch(ctx, partition, offset, limit)
		return rows, err
	}
	if len(w.rows) == 0 || offset+1 > w.next { // an empty window, or a group ahead of it
		if offset+1 != w.next {
			w.rows, w.bytes, w.next = nil, 0, offset+1
			w.dirty.Store(true)
		}
		first = w.next
	}
	cached := w.rows[offset+1-first:]
	if len(cached) < limit && w.dirty.Swap(false) { // what is committed from here on touches it again
		fresh, size, err := r.fetch(ctx, partition, w.next-1, r.page)
		if err != nil {
			w.dirty.Store(true)
			return nil, err
		}
		if len(fresh) == r.page || size >= windowBytes {
			w.dirty.Store(true) // there may be more
		}
		w.rows = append(w.rows, fresh...)
		w.bytes += size
		w.next += int64(len(fresh))
		cached = w.rows[offset+1-first:]
		defer w.trim(len(fresh)) // not before the rows that are asked for were copied
	}
	return append([]store.Record(nil), cached[:min(limit, len(cached))]...), nil
}

func (r *Reader) fetch(ctx context.Context, partition int, offset int64, limit int) (rows []store.Record, size int, err error) {
	rows, gap, err := r.source.Page(ctx, partition, offset, limit, windowBytes)
	if err != nil {
		return nil, 0, err
	}
	if gap { // the missing record may be offered when it arrives, and then what follows is not read yet
		r.windows[partition].dirty.Store(true)
	}
	for _, row := range rows {
		size += len(row.Payload)
	}
	return rows, size, nil
}

// forget drops the rows up to an offset.
func (w *window) forget(offset int64) {
	for len(w.rows) > 0 && w.rows[0].Offset <= offset {
		w.bytes -= len(w.rows[0].Payload)
		w.rows[0] = store.Record{}
		w.rows = w.rows[1:]
	}
	if len(w.rows) == 0 {
		w.rows = nil
	}
}

// trim drops the oldest rows, but keeps the newest page whole.
func (w *window) trim(keep int) {
	drop := 0
	for len(w.rows)-drop > keep && (len(w.rows)-drop > windowRows || w.bytes > windowBytes) {
		w.bytes -= len(w.rows[drop].Payload)
		drop++
	}
	if drop > 0 {
		w.rows = append([]store.Record(nil), w.rows[drop:]...)
	}
}

// poll returns, as bits, the partitions that have other records than at the last poll, also
// with an error. What was read is no measure: one group may have read a record of which
// another was not notified.
func (r *Reader) poll(ctx context.Context) (changed uint64, err error) {
	err = r.source.Newest(ctx, func(partition int, offset int64) {
		if offset != r.polled[partition] {
			r.polled[partition] = offset
			changed |= 1 << partition
		}
	})
	return changed, err
}
