// Package dataplatform hears every event of the product and writes them to
// Parquet files, for whoever analyses them: it stands in for an outside system.
//
// # What it promises
//
//   - Every event is staged in exactly one row, in the handler's transaction.
//   - Every staged row is in exactly one file, and a file never changes once it
//     has its name. Positions are given when a file's range is fixed, without
//     gaps: the files tile 1…n, and a file's name is its range
//     (events-000000000001-000000000500.parquet).
//   - A file has its name only when its bytes are on the disk: it is written
//     under another name, synced, renamed, and the folder is synced.
//   - After a crash at any step the same range is written again under the same
//     name, with the same rows, before any later range is begun.
//   - One process writes at a time. A lease in the database, ten seconds by its
//     clock, says which; one that woke up late can only repeat a file that it
//     was entitled to, with the same rows, and records nothing.
//   - Within a file, the events of one topic and partition (hence of one key)
//     are in their order, and so they are from file to file (unless the
//     database's clock was set back between two of them).
//
// # What it does not promise
//
//   - Order between topics or partitions.
//   - That a file appears at once: after FlushRows records or FlushEvery.
//   - Deletion: staged rows and files are kept.
//
// The folder must be the same for all processes that host the module. Columns
// are plain: text, integers, a UTC timestamp in microseconds; the payload is
// JSON text. A disk that is full, or a folder that cannot be written, is
// logged and tried again every ten seconds at most; events go on being staged.
package dataplatform

import (
	"encoding/json"
	"fmt"
	"time"

	"millrace/platform/bus"
	"millrace/platform/errs"
)

// record is one event, as it is staged and as it stands in a file. The column
// names are a contract with the files' readers.
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
}

// newRecord takes an event over. A payload that is not JSON is Undecodable: it
// would spoil the column for its readers.
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
		at := r.Time.UTC().Truncate(time.Microsecond) // what the database and the file keep
		rec.Time = &at
	}
	return rec, nil
}

// file is a range of positions that lies, or is about to lie, in one file.
type file struct {
	First, Last int64
	Bytes       int64
	SHA256      string
	FixedAt     time.Time
	WrittenAt   *time.Time // nil until it is recorded
}

func (f file) name() string { return fmt.Sprintf("events-%012d-%012d.parquet", f.First, f.Last) }
func (f file) rows() int64  { return f.Last - f.First + 1 }
