package store

import (
	"context"
	"database/sql"
	"fmt"
)

// Source is where the records of a stream are read: a table, or a part of one.
type Source struct {
	db     *sql.DB
	stream string
	gaps   bool
	page   string
	newest string
}

// NewSource returns a source. table is a table, or a subquery in parentheses with a name,
// with the columns partition, "offset", id, type, key, payload and metadata. gaps means that
// records may be stored in any order, so that one that is missing may still arrive; else it
// was deleted.
func NewSource(db *sql.DB, stream, table string, gaps bool) *Source {
	return &Source{db: db, stream: stream, gaps: gaps,
		page: fmt.Sprintf(`
		SELECT "offset", id, type, key, payload, metadata FROM (
			SELECT *, sum(octet_length(payload)) OVER (ORDER BY "offset") - octet_length(payload) AS before
			FROM (SELECT * FROM %s WHERE partition = $1 AND "offset" > $2 ORDER BY "offset" LIMIT $3) AS page) AS page
		WHERE before < $4 ORDER BY "offset"`, table),
		newest: fmt.Sprintf(
			`SELECT p, coalesce((SELECT max("offset") FROM %s WHERE partition = p::smallint), 0) FROM generate_series(0, %d) AS p`, table, Partitions-1),
	}
}

// NewInbound returns the source of what arrived of a stream in a module's inbound table.
func NewInbound(db *sql.DB, module, stream string) *Source {
	return NewSource(db, stream, "(SELECT * FROM "+module+".inbound WHERE topic = '"+stream+"') AS arrived", true)
}

// Page returns up to limit records of a partition behind an offset, in order, and not more
// bytes of payload than maxBytes and one record. gap reports that it ends before a record that
// has not arrived. Where records cannot be missing, a missing one is an error, which stops
// the partition: somebody has deleted it, or restored half a database.
func (s *Source) Page(ctx context.Context, partition int, after int64, limit, maxBytes int) (all []Record, gap bool, err error) {
	rows, err := s.db.QueryContext(ctx, s.page, partition, after, limit, maxBytes)
	if err != nil {
		return nil, false, fmt.Errorf("read partition %d after %d: %w", partition, after, err)
	}
	defer rows.Close()
	for rows.Next() {
		row := Record{decoded: &decodedMetadata{}}
		if err := rows.Scan(&row.Offset, &row.ID, &row.Type, &row.Key, &row.Payload, &row.Metadata); err != nil {
			return nil, false, fmt.Errorf("read partition %d after %d: %w", partition, after, err)
		}
		if want := after + 1 + int64(len(all)); row.Offset != want {
			if s.gaps {
				gap = true
				break
			}
			return nil, false, fmt.Errorf("%s, partition %d: row %d is missing, the next one is %d", s.stream, partition, want, row.Offset)
		}
		all = append(all, row)
	}
	if err := rows.Err(); err != nil {
		return nil, false, fmt.Errorf("read partition %d after %d: %w", partition, after, err)
	}
	return all, gap, nil
}

// Newest calls found with the newest offset of each partition, 0 for an empty one.
func (s *Source) Newest(ctx context.Context, found func(partition int, offset int64)) error {
	rows, err := s.db.QueryContext(ctx, s.newest)
	if err != nil {
		return fmt.Errorf("newest offsets of %s: %w", s.stream, err)
	}
	defer rows.Close()
	for rows.Next() {
		var partition int
		var offset int64
		if err := rows.Scan(&partition, &offset); err != nil {
			return fmt.Errorf("newest offsets of %s: %w", s.stream, err)
		}
		found(partition, offset)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("newest offsets of %s: %w", s.stream, err)
	}
	return nil
}
