// Package dataplatform subscribes to every event of the product and writes them
// to Parquet files for analysis. It stands in for an external data platform.
//
// # Guarantees
//
//   - Every event is staged in exactly one row, in the handler's transaction.
//   - Every staged row is in exactly one file, and a file never changes once it
//     has its final name. Positions are assigned when a file's range is fixed,
//     without gaps: the files cover 1…n, and a file's name is its range
//     (events-000000000001-000000000500.parquet).
//   - A file gets its final name only when its bytes are on the disk: it is
//     written under a temporary name, synced and renamed, and the folder is
//     synced.
//   - After a crash at any step the same range is written again under the same
//     name, with the same rows, before a later range is started.
//   - One process writes at a time: the holder of a lease in the database,
//     which lasts ten seconds by the database's clock. A process that lost the
//     lease and still writes can only repeat its file with the same rows, and
//     cannot record it.
//   - Within a file, and from file to file, the events of one topic and
//     partition (hence of one key) are in order, unless the database's clock
//     was set back between two of them.
//
// # Not guaranteed
//
//   - Order between topics or partitions.
//   - That a file appears at once: it does after FlushRows records or
//     FlushEvery.
//   - Deletion: staged rows and files are kept.
//
// All processes that host the module must use the same folder. Columns are
// text, integers, and a UTC timestamp in microseconds; the payload is JSON
// text. If the disk is full or the folder cannot be written, the error is
// logged and writing is retried at least every ten seconds, while events are
// still staged.
package dataplatform

import (
	"encoding/json"
	"fmt"
	"time"

	"millrace/platform/bus"
	"millrace/platform/errs"
)

// record is one event, as staged and as written to a file. The column names are
// a contract with the files' readers.
type record struct {
	Position    int64      `parquet:"position" json:"position,omitempty" doc:"Its place among all records; absent until its file is begun."`
	MessageID   string     `parquet:"message_id" json:"messageId"`
	Type        string     `parquet:"type,dict" json:"type"`
	Source      string     `parquet:"source,dict" json:"source"`
	Key         string     `parquet:"key" json:"key"`
	Time        *time.Time `parquet:"time,optional,timestamp(microsecond)" json:"time,omitempty"`
	Topic       string     `parquet:"topic,dict" json:"topic"`
	Partition   int32      `parquet:"partition" json:"partition"`
	Sequence    int64      `parquet:"sequence" json:"sequence"`
	Schema      string     `parquet:"dataschema,dict" json:"dataschema"`
	Correlation string     `parquet:"correlation" json:"correlation"`
	Causation   string     `parquet:"causation" json:"causation,omitempty"`
	Payload     string     `parquet:"payload" json:"payload" doc:"JSON, as it was published."`

	stagedAt time.Time // read from the table only
}

// newRecord converts an event. A payload that is not JSON is Undecodable: it
// would make the column unreadable.
func newRecord(r bus.Received) (record, error) {
	if !json.Valid(r.Data) {
		return record{}, errs.New(errs.Undecodable, "%s %s: the payload is not JSON", r.Type, r.ID)
	}
	rec := record{
		MessageID: r.ID.String(), Type: r.Type, Source: r.Source, Key: r.Key,
		Topic: r.Topic, Partition: int32(r.Partition), Sequence: r.Sequence, //nolint:gosec // a partition is 0…63
		Schema: r.Schema, Correlation: r.Correlation, Causation: r.Causation, Payload: string(r.Data),
	}
	if !r.Time.IsZero() {
		at := r.Time.UTC().Truncate(time.Microsecond) // the precision of the database and the file
		rec.Time = &at
	}
	return rec, nil
}

// file is a range of positions that is written, or being written, to one file.
type file struct {
	First, Last int64
	Bytes       int64
	SHA256      string
	FixedAt     time.Time
	WrittenAt   *time.Time // nil until it is recorded as written
}

func (f file) name() string { return fmt.Sprintf("events-%012d-%012d.parquet", f.First, f.Last) }
func (f file) rows() int64  { return f.Last - f.First + 1 }
