package sqltransport

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"

	"millrace/platform/bus/envelope"
	"millrace/platform/bus/store"
)

// A window keeps a partition's newest rows for the subscribers of this process.
// A page is what one query fetches; it is at most one message larger than
// windowBytes.
const (
	windowRows  = 256
	windowBytes = 256 << 10
	pageRows    = 64
)

// record is one row of a log or a queue. It never changes: offsets are gapless
// and follow the commit order, so a row that was read once stays true.
type record struct {
	offset   int64
	id       uuid.UUID
	typ      string
	key      string
	payload  []byte
	metadata []byte // JSON
	decoded  *decodedMetadata
}

// decodedMetadata is a record's metadata, decoded once for all subscribers: it was a
// tenth of the client's processor time to do it for each.
type decodedMetadata struct {
	once     sync.Once
	metadata message.Metadata
}

// open returns a copy of the envelope: middleware writes to it.
func (r *record) open(topic string, partition int) message.Metadata {
	r.decoded.once.Do(func() {
		m := &r.decoded.metadata
		if *m = store.DecodeMetadata(r.metadata); *m == nil {
			*m = message.Metadata{}
		}
		for name, value := range map[string]string{
			envelope.ID: r.id.String(), envelope.Type: r.typ, envelope.Key: r.key, envelope.Subject: r.key,
			envelope.Sequence: strconv.FormatInt(r.offset, 10), envelope.Topic: store.TopicOf(topic), envelope.Partition: strconv.Itoa(partition),
		} {
			(*m)[name] = value
		}
		if owner, events := strings.CutSuffix(store.TopicOf(topic), ".events"); events {
			(*m)[envelope.Source] = owner // whatever its role wrote there
		}
	})
	return maps.Clone(r.decoded.metadata)
}

// message builds the message that the router sees.
func (r *record) message(topic string, partition int) *message.Message {
	metadata := r.open(topic, partition)
	msg := message.NewMessage(metadata[envelope.ID], append([]byte(nil), r.payload...))
	msg.Metadata = metadata
	return msg
}

// reader reads one topic for all its subscribers in this process: a row is
// fetched once, by whoever needs it first. A subscriber that is far behind
// reads past the window, directly.
type reader struct {
	db      *sql.DB
	topic   string
	from    string // the table
	holes   bool   // a row that is missing is on its way, and not lost
	page    int    // rows in one query
	hearers int    // subscribers that read here
	query   string
	windows [store.Partitions]window
	polled  [store.Partitions]int64 // the newest row when keepHouse looked last
}

type window struct {
	dirty atomic.Bool // something may have been committed behind the last row

	mu    sync.Mutex
	rows  []record // contiguous offsets
	next  int64    // the offset after the last row
	bytes int
	asked int64 // the position of whoever asked last
}

func newReader(db *sql.DB, topic, from string) *reader {
	r := &reader{db: db, topic: topic, from: from, page: pageRows, query: fmt.Sprintf(`
		SELECT "offset", id, type, key, payload, metadata FROM (
			SELECT *, sum(octet_length(payload)) OVER (ORDER BY "offset") - octet_length(payload) AS before
			FROM (SELECT * FROM %s WHERE partition = $1 AND "offset" > $2 ORDER BY "offset" LIMIT $3) AS page) AS page
		WHERE before < $4 ORDER BY "offset"`, from)}
	for p := range r.windows {
		r.windows[p].dirty.Store(true)
	}
	return r
}

// touch says that something was committed to the partition. Call it before
// waking the partition's tasks. It waits for nobody: a request calls it after
// its commit, and a read may be waiting for the database.
func (r *reader) touch(partition int) { r.windows[partition].dirty.Store(true) }

// reset empties a partition's window.
func (r *reader) reset(partition int) {
	w := &r.windows[partition]
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rows, w.bytes, w.next = nil, 0, 0
	w.dirty.Store(true)
}

// offer adds a row that was committed just now to the window of its partition's
// one subscriber, if it is the next one, so that it need not be read back. If it
// is not, or somebody reads at this moment, or a page waits already, touch instead.
func (r *reader) offer(partition int, row record) (taken bool) {
	w := &r.windows[partition]
	if !w.mu.TryLock() {
		return false
	}
	defer w.mu.Unlock()
	w.forget(w.asked)
	if row.offset < w.next { // it was read meanwhile
		return true
	}
	if w.next == 0 || row.offset > w.next || len(w.rows) >= pageRows || w.bytes >= windowBytes {
		return false
	}
	w.rows = append(w.rows, row)
	w.bytes += len(row.payload)
	w.next++
	return true
}

// forget drops the rows up to a position.
func (w *window) forget(position int64) {
	for len(w.rows) > 0 && w.rows[0].offset <= position {
		w.bytes -= len(w.rows[0].payload)
		w.rows[0] = record{}
		w.rows = w.rows[1:]
	}
	if len(w.rows) == 0 {
		w.rows = nil
	}
}

// after returns up to limit rows behind position, in order. None means that
// there are none, and that a touch will follow when there are.
func (r *reader) after(ctx context.Context, partition int, position int64, limit int) ([]record, error) {
	w := &r.windows[partition]
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = position
	if r.hearers == 1 { // nobody else needs what is handled
		w.forget(position)
	}
	first := w.next - int64(len(w.rows))
	if len(w.rows) > 0 && position+1 < first { // a laggard
		return r.fetch(ctx, partition, position, limit)
	}
	if len(w.rows) == 0 || position+1 > w.next { // an empty window, or a subscriber ahead of it
		if position+1 != w.next {
			w.rows, w.bytes, w.next = nil, 0, position+1
			w.dirty.Store(true)
		}
		first = w.next
	}
	cached := w.rows[position+1-first:]
	if len(cached) < limit && w.dirty.Swap(false) { // what is committed from here on touches it again
		fresh, err := r.fetch(ctx, partition, w.next-1, r.page)
		if err != nil {
			w.dirty.Store(true)
			return nil, err
		}
		size := 0
		for _, row := range fresh {
			size += len(row.payload)
		}
		if len(fresh) == r.page || size >= windowBytes {
			w.dirty.Store(true) // there may be more
		}
		w.rows = append(w.rows, fresh...)
		w.bytes += size
		w.next += int64(len(fresh))
		cached = w.rows[position+1-first:]
		defer w.trim(len(fresh)) // not before the rows that are asked for were copied
	}
	return append([]record(nil), cached[:min(limit, len(cached))]...), nil
}

// trim drops the oldest rows, but keeps the newest page whole.
func (w *window) trim(keep int) {
	drop := 0
	for len(w.rows)-drop > keep && (len(w.rows)-drop > windowRows || w.bytes > windowBytes) {
		w.bytes -= len(w.rows[drop].payload)
		drop++
	}
	if drop > 0 {
		w.rows = append([]record(nil), w.rows[drop:]...)
	}
}

// fetch reads a page. Offsets have no gaps, so a row that is missing is a lost
// one (somebody deleted it by hand, or restored half a database): it is an
// error, which stops the partition and says so, and never skipped.
func (r *reader) fetch(ctx context.Context, partition int, position int64, limit int) (_ []record, err error) {
	rows, err := r.db.QueryContext(ctx, r.query, partition, position, limit, windowBytes)
	if err != nil {
		return nil, fmt.Errorf("read partition %d after %d: %w", partition, position, err)
	}
	defer rows.Close()
	var all []record
	for rows.Next() {
		row := record{decoded: &decodedMetadata{}}
		if err := rows.Scan(&row.offset, &row.id, &row.typ, &row.key, &row.payload, &row.metadata); err != nil {
			return nil, fmt.Errorf("read partition %d after %d: %w", partition, position, err)
		}
		if want := position + 1 + int64(len(all)); row.offset != want {
			if r.holes {
				r.windows[partition].dirty.Store(true) // whoever fills it may offer that row, and then this one is not read yet
				break                                  // and wakes the partition
			}
			return nil, fmt.Errorf("%s, partition %d: row %d is missing, the next one is %d", r.topic, partition, want, row.offset)
		}
		all = append(all, row)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read partition %d after %d: %w", partition, position, err)
	}
	return all, nil
}
